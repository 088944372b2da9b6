// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <cstdint>

#include "counters.hpp"
#include "penstock/python/runtime.hpp"
#include "resource.hpp"

namespace penstock::nif {

/// A Python context in Erlang's hands. Stops when its owner, the process that made it, dies, and
/// when nobody in Erlang refers to it any more.
class ContextResource {
 public:
  ContextResource(Ref<python::Context> context, const ErlNifPid& owner) noexcept
      : context_(std::move(context)), owner_(owner) {}
  ~ContextResource() { context_->stop(); }

  [[nodiscard]] python::Context& context() const noexcept { return *context_; }
  [[nodiscard]] ERL_NIF_TERM owner() const noexcept { return owner_.pid; }

  /// Monitors a process: the owner, or one that has a namespace here. False: it is gone. Any
  /// thread.
  [[nodiscard]] bool watch(const ErlNifPid& process) const noexcept {
    ErlNifMonitor monitor;
    return enif_monitor_process(nullptr, const_cast<ContextResource*>(this), &process, &monitor) ==
           0;
  }

  /// Called once for each watch() whose process died.
  void down(const ErlNifPid& process) noexcept;

 private:
  const Ref<python::Context> context_;
  const ErlNifPid owner_;
  [[no_unique_address]] Counted<&Counters::contexts> counted_;
};

}  // namespace penstock::nif
