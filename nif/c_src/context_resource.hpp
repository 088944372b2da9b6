// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <cstdint>

#include "counters.hpp"
#include "penstock/context.hpp"
#include "resource.hpp"

namespace penstock::nif {

class NifCall;

/// A Python context in Erlang's hands. Stops when its owner, the process that made it, dies, and
/// when nobody in Erlang refers to it any more.
///
/// Edges:
///   N4  unlock -> lock of the spin lock: the list of tasks.
class ContextResource {
 public:
  ContextResource(Ref<Context> context, const ErlNifPid& owner) noexcept
      : context_(std::move(context)), owner_(owner) {}
  ~ContextResource() { context_->stop(); }

  [[nodiscard]] Context& context() const noexcept { return *context_; }
  [[nodiscard]] ERL_NIF_TERM owner() const noexcept { return owner_.pid; }

  /// Monitors a process: the owner, or one that has a namespace here. False: it is gone. Any
  /// thread.
  [[nodiscard]] bool watch(const ErlNifPid& process) const noexcept {
    ErlNifMonitor monitor;
    return enif_monitor_process(nullptr, const_cast<ContextResource*>(this), &process, &monitor) ==
           0;
  }

  /// A task in the hands of the context, until it is gone: nobody monitors the context to learn
  /// that it died.
  void enlist(NifCall& call) noexcept;
  void delist(NifCall& call) noexcept;

  /// Called once for each watch() whose process died.
  void down(const ErlNifPid& process) noexcept;

 private:
  class Guard;
  void lose_tasks() noexcept;

  const Ref<Context> context_;
  const ErlNifPid owner_;
  Atomic<std::uint32_t> lock_{0};
  NifCall* tasks_ = nullptr;  // Guarded by the lock.
  [[no_unique_address]] Counted<&Counters::contexts> counted_;
};

}  // namespace penstock::nif
