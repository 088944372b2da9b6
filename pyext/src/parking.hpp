// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "loop_mailbox.hpp"
#include "penstock/call.hpp"
#include "penstock/waiter.hpp"
#include "signal_window.hpp"

namespace penstock::python {

/// A request that runs on a context's thread, or waits there for one that runs inside it: handlers
/// of erlang.call may call their context. Lives on the thread's stack.
struct RunningCall {
  const Call* call;
  bool is_requested = false;     ///< It is to be interrupted, and has not been.
  RunningCall* outer = nullptr;  ///< What it runs inside of.
};

/// What may stop the Python code of one context thread, or of the other threads of its interpreter.
/// Everything in it belongs to Parking's lock.
struct Interruptible {
  RunningCall* running = nullptr;  ///< The innermost request that runs now, or nullptr.
  bool is_stopping = false;        ///< The context ends.
  bool has_suspended = false;      ///< Some call is between two pieces (schedule_inline).
  bool is_requested = false;       ///< The next piece is to be interrupted.
};

/// The context whose thread this is, or nullptr.
[[nodiscard]] Interruptible* this_context() noexcept;
void set_this_context(Interruptible* context) noexcept;

/// Why a wait was ended from outside.
enum class Reason : std::uint8_t { none, interrupted, stopped };

/// A thread that blocks inside Penstock; lives on its stack.
struct ParkedThread {
  ParkedThread(const SignalWindow& signals, Interruptible* of) noexcept
      : waiter(signals.event(), signals.arrivals()), owner(of) {}

  ThreadWaiter waiter;
  Interruptible* owner;  ///< See owner_of_waits().
  Reason reason = Reason::none;
  ParkedThread* next = nullptr;
  ParkedThread* previous = nullptr;
};

/// Everybody who waits inside Penstock in this process, so that interrupts and the application's
/// stop can reach them.
///
/// Threads: any, with or without the GIL. Cost: a spin lock held for a few instructions, and for
/// one system call for each waiter that is interrupted; only those who are about to sleep come
/// here.
///
/// Edges:
///   K1  unlock -> lock of the spin lock: lists, reasons, and the fields of Interruptible.
class Parking {
 public:
  /// Puts a thread that is about to sleep on the list. False: it must not sleep, see its reason.
  [[nodiscard]] bool enter(ParkedThread& thread) noexcept;
  void leave(ParkedThread& thread) noexcept;

  void add(LoopMailbox& mailbox) noexcept;
  void remove(LoopMailbox& mailbox) noexcept;
  /// Another thread runs its loop now. With the GIL; most often it is the same, and nothing is
  /// locked.
  void set_owner(LoopMailbox& mailbox, Interruptible* owner) noexcept;

  /// While stopped, nobody sleeps.
  void set_stopped(bool stopped) noexcept;
  /// Whether this thread's waits must end: the application, or its context, stops.
  [[nodiscard]] bool must_stop(const Interruptible* owner) noexcept;
  /// How often the application has stopped. Who learns of anything that a stop has caused finds it
  /// counted; and one that takes long to wake may find the application started again.
  [[nodiscard]] std::uint32_t stops() const noexcept { return stops_.load(order::relaxed); }

  /// `call` runs now in `owner`, inside of what ran there.
  void begin(Interruptible& owner, RunningCall& call) noexcept;
  /// The innermost one has ended. True: it was to be interrupted, and was not.
  bool end(Interruptible& owner) noexcept;
  void set_suspended(Interruptible& owner, bool has_suspended) noexcept;
  /// An interrupt that came while nothing ran, but something was suspended.
  [[nodiscard]] bool take_suspended_request(Interruptible& owner) noexcept;
  /// Asks for an interrupt of the innermost request (or of `only` and what runs inside it, if that
  /// runs), and ends its waits. False: nothing to interrupt.
  bool interrupt(Interruptible& owner, const Call* only) noexcept;
  void stop(Interruptible& owner) noexcept;
  /// Whether a call is in progress there.
  [[nodiscard]] bool is_running(const Interruptible& owner) noexcept;
  [[nodiscard]] bool is_stopping(const Interruptible& owner) noexcept;
  /// The interrupt of the innermost request: whoever gets true delivers it.
  [[nodiscard]] bool take_request(Interruptible& owner) noexcept;
  /// Ends the waits of `owner` once more: its interrupt has been delivered to the interpreter.
  void wake(Interruptible& owner) noexcept;
  /// In a forked child, which has this thread only: the others' places and their lock are gone.
  void forget_others() noexcept;

 private:
  class Guard;
  void wake_locked(const Interruptible* owner, Reason reason) noexcept;

  Atomic<std::uint32_t> lock_{0};
  bool is_stopped_ = false;
  Atomic<std::uint32_t> stops_{0};
  ParkedThread* threads_ = nullptr;
  LoopMailbox* mailboxes_ = nullptr;
};

/// The process's one.
[[nodiscard]] Parking& parking() noexcept;

/// From now on forked children start with nobody parked. Once for the process.
void forget_parked_in_children() noexcept;

}  // namespace penstock::python
