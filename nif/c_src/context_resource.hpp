// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <cstdint>

#include "counters.hpp"
#include "penstock/context.hpp"
#include "penstock/ring_layout.hpp"
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

  /// Calls in the hands of the context, queued or running: each begins once, and ends once when it
  /// is answered, or given up. Any thread.
  void begin_call() noexcept { begun_.fetch_add(1, order::relaxed); }
  void end_call() noexcept { ended_.fetch_add(1, order::relaxed); }
  [[nodiscard]] std::uint64_t calls() const noexcept {
    std::uint64_t const ended = ended_.load(order::relaxed);  // First, as they are later.
    std::uint64_t const begun = begun_.load(order::relaxed);
    return begun > ended ? begun - ended : 0;
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
  Atomic<std::uint64_t> begun_{0};  // Callers write it.
  Atomic<std::uint32_t> lock_{0};
  NifCall* tasks_ = nullptr;  // Guarded by the lock.
  [[no_unique_address]] Counted<&Counters::contexts> counted_;
  [[maybe_unused]] std::uint8_t apart_[kSharedLine] = {};
  Atomic<std::uint64_t> ended_{0};  // Threads that answer write it.
};

}  // namespace penstock::nif
