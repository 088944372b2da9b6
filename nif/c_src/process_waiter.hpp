// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <cstdint>

#include "counters.hpp"
#include "owned_env.hpp"
#include "penstock/ref.hpp"
#include "penstock/shim.hpp"
#include "penstock/waiter.hpp"
#include "resource.hpp"

namespace penstock::nif {

/// An Erlang process that waits for a message, or for room in a channel or a buffer: gets
/// {penstock_ready, Ref} when it should look again. A resource: the process has it while it waits,
/// and it monitors the process.
///
///   idle ──arm──► armed ──fire──► fired ──arm, withdraw, or death of the process──► idle
///                   └──withdraw, or death──► idle
///
/// While it is in a WaitList (or being fired), that list holds a reference to the resource.
/// A wake-up that the process does not look into, because it died or left, is passed on.
///
/// Threads: arm and withdraw the process; fire any; down a scheduler.
/// Edges:
///   N2  each transition of phase_ is a compare-and-swap, acq_rel: exactly one side takes a
///   wake-up.
class ProcessWaiter final : public Waiter {
 public:
  enum class For : std::uint8_t { message, room_in_channel, room_in_stream };

  /// `line` belongs to `owner`, a Channel or a ByteStream.
  ProcessWaiter(Ref<Object> owner, WaitList& line, For what, const ErlNifPid& process,
                ERL_NIF_TERM reference) noexcept;
  ~ProcessWaiter();

  /// Monitors the process. False: it is dying.
  [[nodiscard]] bool watch(ErlNifEnv* env) noexcept;
  /// Puts it in line, at its old place if it was there before. Look again afterwards.
  void arm() noexcept;
  /// Takes it out of the line, for good. True: no wake-up was or will be sent. False: one is on its
  /// way, which the process must take from its mailbox, and look or pass on.
  [[nodiscard]] bool withdraw() noexcept;
  /// The same for one that leaves without having got what it waited for.
  [[nodiscard]] bool give_up() noexcept;
  /// The process has taken its wake-up from its mailbox and looks now.
  void looked() noexcept { phase_.store(kIdle, order::relaxed); }
  void pass_on() noexcept { line_.wake_one(); }

  [[nodiscard]] Object& owner() const noexcept { return *owner_; }
  [[nodiscard]] bool is_armed() const noexcept {
    return phase_.load(order::acquire("N2")) == kArmed;
  }
  [[nodiscard]] bool is_idle() const noexcept { return phase_.load(order::acquire("N2")) == kIdle; }
  [[nodiscard]] For what() const noexcept { return what_; }
  [[nodiscard]] bool belongs_to(const ErlNifPid& process) const noexcept {
    return process.pid == process_.pid;
  }

  /// The process is gone.
  void down(const ErlNifPid& process) noexcept;

 private:
  bool fire() noexcept override;
  void leave_line() noexcept;
  [[nodiscard]] bool move(std::uint32_t from, std::uint32_t to) noexcept {
    return phase_.compare_exchange_strong(from, to, order::acq_rel("N2"), order::acquire("N2"));
  }

  static constexpr std::uint32_t kIdle = 0, kArmed = 1, kFired = 2;
  const Ref<Object> owner_;
  WaitList& line_;
  const For what_;
  const ErlNifPid process_;
  const OwnedEnv env_;
  const ERL_NIF_TERM reference_;  // In env_.
  Atomic<std::uint32_t> phase_{kIdle};
  Atomic<bool> gone_{false};  // The process is. Ordered by the line's lock.
  [[no_unique_address]] Counted<&Counters::waiters> counted_;
};

}  // namespace penstock::nif
