// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "module_state.hpp"

namespace penstock::python {

/// A call of an Erlang process runs on this thread, as long as this object lives. Scopes nest.
///
/// At its end, if Python code wrote output or log records in it, what ModuleState::at_call_end
/// holds is called, so that all of that is handled before the caller has its answer.
///
/// Threads: one, with the GIL. Cost: a few stores, unless there was output.
/// Errors: none; what at_call_end raises is dropped, and an exception that is set stays set.
class CallScope {
 public:
  CallScope(ModuleState& state, std::uint64_t caller) noexcept;
  /// May wait without the GIL, and so end the thread, see GilRelease.
  ~CallScope() noexcept(false);
  CallScope(const CallScope&) = delete;
  CallScope& operator=(const CallScope&) = delete;

  /// The innermost one of this thread, or nullptr.
  [[nodiscard]] static CallScope* current() noexcept;

  /// The word of the pid of the process that called.
  [[nodiscard]] std::uint64_t caller() const noexcept { return caller_; }
  void note_output() noexcept { has_output_ = true; }

 private:
  ModuleState& state_;
  const std::uint64_t caller_;
  CallScope* const outer_;
  bool has_output_ = false;
};

}  // namespace penstock::python
