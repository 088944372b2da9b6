// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <utility>

#include "blocking.hpp"
#include "call_scope.hpp"
#include "module_state.hpp"
#include "parking.hpp"
#include "penstock/call.hpp"

namespace penstock::python {

/// A call is in progress on a context's thread. When it ends, no interrupt that was meant for it is
/// left behind: the next one must not get it.
///
/// Threads: the context's, with the GIL. Nests.
class RunningScope {
 public:
  RunningScope(ModuleState& state, Interruptible& owner, const Call& call) noexcept
      : state_(state), owner_(owner), call_{&call} {
    parking().begin(owner_, call_);
  }
  /// May wait for output to be handled, see CallScope.
  ~RunningScope() noexcept(false) { (void)end(); }
  RunningScope(const RunningScope&) = delete;
  RunningScope& operator=(const RunningScope&) = delete;

  /// It has started, and is not cancelled.
  void begin_scope() { scope_.emplace(state_, call_.call->caller()); }

  /// True: it was to be interrupted, and was not. Once.
  bool end() {
    if (std::exchange(has_ended_, true)) return false;
    scope_.reset();
    bool was_set = false;
    while (take_async_exception(state_)) was_set = true;
    // Interrupts are set with the GIL, which we hold: from here on none comes.
    const bool was_requested = parking().end(owner_);
    PyObject* next = nullptr;
    // One that was meant for what we run inside of has been spent on us.
    if (owner_.running != nullptr && parking().take_request(owner_)) {
      next = parking().is_stopping(owner_) ? state_.application_stopped : PyExc_KeyboardInterrupt;
    }
    if (next != nullptr) set_async_exception(PyThreadState_Get(), next);
    return was_requested || was_set;
  }

 private:
  ModuleState& state_;
  Interruptible& owner_;
  RunningCall call_;
  std::optional<CallScope> scope_;
  bool has_ended_ = false;
};

}  // namespace penstock::python
