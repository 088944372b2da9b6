// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/ref.hpp"
#include "penstock/shim.hpp"

namespace penstock {

class WaitList;

/// Somebody who sleeps until a condition may hold: a thread (ThreadWaiter), a coroutine
/// (MailboxWaiter), an Erlang process (in nif/).
///
/// A fired waiter holds a wake-up: it must look at the condition, or pass the wake-up on with
/// WaitList::wake_one() if it goes away without looking. One that remove() did not find in line is
/// about to be fired: it is not to be added again before that happened.
class Waiter {
 public:
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

 protected:
  Waiter() = default;
  ~Waiter() = default;

 private:
  friend class WaitList;
  /// Delivers the wake-up. Called at most once for each add(), by any thread, under no lock; it is
  /// the list's last touch of this waiter. False: the owner is gone, wake another one.
  virtual bool fire() noexcept = 0;

  // Guarded by the list's lock.
  Waiter* next_ = nullptr;
  Waiter* previous_ = nullptr;
  bool linked_ = false;
  std::uint64_t ticket_ = 0;  // Place in the line, kept while the wait is unfinished; 0: none yet.
};

/// Those who wait for the same condition in other processes (domain.hpp).
///
/// Threads: any.
class FarWaiters {
 public:
  FarWaiters(const FarWaiters&) = delete;
  FarWaiters& operator=(const FarWaiters&) = delete;

  /// Tells the other processes that somebody waits here: the second step of add(), before its
  /// fence.
  virtual void announce() noexcept = 0;
  /// Whether another process has somebody who waits, and how many have.
  [[nodiscard]] virtual bool is_anybody_waiting() const noexcept = 0;
  [[nodiscard]] virtual std::uint32_t waiting() const noexcept = 0;
  /// One process wakes one waiter; all wake all.
  virtual void wake_one() noexcept = 0;
  virtual void wake_all() noexcept = 0;
  /// For the thread that others call when they wake somebody: announces the waiters of `near`, this
  /// process's, again, so that what happens from now on calls it again. True: somebody did call.
  /// Then, or if somebody waits near, look whether the condition holds, and if so wake one.
  [[nodiscard]] virtual bool answer(WaitList& near) noexcept = 0;

 protected:
  FarWaiters() = default;
  ~FarWaiters() = default;
};

/// Waiters on one condition, first come, first served; those of other processes after those of this
/// one. The side that makes the condition true pays
/// a fence and one load when nobody waits.
///
/// Protocol: a waiter calls add(), looks at the condition once more, then sleeps until fired; a
/// notifier makes the condition true, then calls wake_one() (or wake_all()).
///
/// Threads: any. Cost: wake_one without waiters: one fence, one load. Everything else takes a spin
/// lock for a few instructions; only those who are about to sleep, or to wake somebody, come there.
///
/// Edges:
///   W1  (store-load) add() writes armed_ and then reads the condition; a notifier writes the
///       condition and then reads armed_. With a full fence between on both sides, at least one
///       sees the other's write. Drop either and a waiter may sleep for ever on a true condition.
///   W2  unlock -> lock of the list's spin lock: links and tickets.
class WaitList {
 public:
  WaitList() = default;
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;

  /// Puts `waiter` in line. Afterwards look at the condition again before sleeping. A waiter that
  /// was fired in vain gets its old place back.
  void add(Waiter& waiter) noexcept;
  /// True: taken out of the line, will not be fired. False: it was fired, or is being fired.
  [[nodiscard]] bool remove(Waiter& waiter) noexcept;
  /// Ends a wait: the next add() goes to the end of the line. Not while linked.
  static void forget_place(Waiter& waiter) noexcept { waiter.ticket_ = 0; }

  void wake_one() noexcept;
  void wake_all() noexcept;
  /// Those of this process only.
  void wake_all_near() noexcept;
  /// Before anybody else knows this list.
  void set_far(FarWaiters& far) noexcept { far_ = &far; }
  /// The first step of waking somebody, for a notifier with a choice: false, nobody is to be woken.
  [[nodiscard]] bool anybody_waits() noexcept {
    full_fence(armed_, "W1");
    return is_waited_for();
  }
  /// The same without the fence: for who has one behind what was made true, or takes it for a hint.
  [[nodiscard]] bool is_waited_for() const noexcept {
    return waiting_near() != 0 || (far_ != nullptr && far_->is_anybody_waiting());
  }
  /// For a waiter that writes more than add() did before it looks at its condition.
  void fence() noexcept { full_fence(armed_, "W1"); }
  /// Waiters here, and processes where there are others.
  [[nodiscard]] std::uint32_t waiting() const noexcept {
    std::uint32_t const near = waiting_near();
    return far_ == nullptr ? near : near + far_->waiting();
  }
  [[nodiscard]] std::uint32_t waiting_near() const noexcept { return armed_.load(order::relaxed); }

 private:
  void lock() noexcept;
  void unlock() noexcept;
  void unlink(Waiter& waiter) noexcept;
  [[nodiscard]] Waiter* unlink_first() noexcept;

  Atomic<std::uint32_t> armed_{0};  // Waiters in line.
  Atomic<std::uint32_t> lock_{0};
  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
  std::uint64_t next_ticket_ = 1;
  FarWaiters* far_ = nullptr;
};

/// A thread that sleeps on a futex, or on an eventfd if signals must end its sleep. Lives on the
/// stack of the thread that waits.
///
/// Edges:
///   W3  fire() stores state_, release -> park() loads it, acquire: what the notifier did before.
class ThreadWaiter final : public Waiter {
 public:
  enum class Wake : std::uint8_t { fired, interrupted, signal, timeout };

  ThreadWaiter() = default;
  /// For a thread whose signals are told by a descriptor, so that none is missed between its look
  /// for them and the sleep, which a futex cannot do: sleeps until `signals` is readable, too.
  /// `event`: an eventfd that is never closed; -1: as above.
  ThreadWaiter(int event, int signals) noexcept : event_(event), signals_(signals) {}

  /// Sleeps until fired, interrupted, a signal arrives, or `deadline_ns` (CLOCK_MONOTONIC) passes.
  /// Call after WaitList::add() and a last look. This thread only.
  Wake park(std::int64_t deadline_ns) noexcept;
  /// Makes the current and each later park() return `interrupted`. Any thread, while the waiter
  /// lives.
  void interrupt() noexcept;
  /// Leaves `list` whatever happened. True: a wake-up had been given to this waiter. This thread
  /// only.
  [[nodiscard]] bool leave(WaitList& list) noexcept;
  [[nodiscard]] bool interrupted() const noexcept;

 private:
  bool fire() noexcept override;

  static void rouse(Atomic<std::uint32_t>* word, int event) noexcept;

  static constexpr std::uint32_t kFired = 1;
  static constexpr std::uint32_t kInterrupted = 2;
  const int event_ = -1;
  const int signals_ = -1;
  Atomic<std::uint32_t> state_{0};  // Bits of the above; a futex.
};

class Mailbox;

/// A waiter that reports to a Mailbox when fired: one coroutine waiting on an event loop. Its owner
/// keeps one reference; while in a WaitList, and then in the mailbox, it holds another.
class MailboxWaiter : public Waiter, public Object {
 public:
  explicit MailboxWaiter(Ref<Mailbox> mailbox) noexcept;
  ~MailboxWaiter() override;
  [[nodiscard]] Mailbox& mailbox() const noexcept { return *mailbox_; }

 private:
  friend class Mailbox;
  bool fire() noexcept override;
  Ref<Mailbox> mailbox_;
  MailboxWaiter* next_fired_ = nullptr;
};

/// Fired waiters of one event loop. Posting is lock-free; the loop is woken once for a burst.
///
/// Threads: post() any; take() and close() the loop's thread.
///
/// Edges:
///   M1  post() links, release -> take() empties, acquire: the waiter, and what made it fire.
///   M2  take() clears awake_ by an exchange before it empties the list, post() links before it
///       sets awake_ by an exchange; whichever exchange is second sees the other's earlier write,
///       so a waiter posted too late for this take() wakes the loop again.
class Mailbox : public Object {
 public:
  /// False: closed.
  [[nodiscard]] bool post(MailboxWaiter& waiter) noexcept;
  /// All fired waiters, each with the reference that the list held, oldest first; follow with
  /// next().
  [[nodiscard]] MailboxWaiter* take() noexcept;
  /// A look at whether take() would find something, for a loop that is awake. Before it sleeps it
  /// calls take() in any case: only after that does a post wake it.
  [[nodiscard]] bool is_empty() const noexcept { return newest_.load(order::relaxed) == nullptr; }
  /// No post succeeds afterwards. Returns what was left, as take() does.
  [[nodiscard]] MailboxWaiter* close() noexcept;
  [[nodiscard]] static MailboxWaiter* next(const MailboxWaiter& waiter) noexcept {
    return waiter.next_fired_;
  }

 protected:
  /// Makes the loop call take() soon. Any thread.
  virtual void wake() noexcept = 0;

 private:
  [[nodiscard]] static MailboxWaiter* reversed(MailboxWaiter* newest) noexcept;
  Atomic<MailboxWaiter*> newest_{nullptr};
  Atomic<std::uint32_t> awake_{0};
};

}  // namespace penstock
