// SPDX-License-Identifier: Apache-2.0
#include "penstock/waiter.hpp"

#include <cassert>

namespace penstock {

// WaitList
// -----------------------------------------------------------------------------------------

void WaitList::lock() noexcept {
  for (unsigned turn = 0; lock_.exchange(1, order::acquire("W2")) != 0; ++turn) {
    spin_pause(turn);  // Held for a few instructions.
  }
}

void WaitList::unlock() noexcept { lock_.store(0, order::release("W2")); }

void WaitList::add(Waiter& waiter) noexcept {
  lock();
  assert(!waiter.linked_);
  if (waiter.ticket_ == 0) waiter.ticket_ = next_ticket_++;
  // A new waiter goes to the end at once, one that was woken in vain to the front, mostly.
  Waiter* after = first_ != nullptr && waiter.ticket_ < first_->ticket_ ? nullptr : last_;
  while (after != nullptr && after->ticket_ > waiter.ticket_) after = after->previous_;
  waiter.previous_ = after;
  waiter.next_ = after == nullptr ? first_ : after->next_;
  (waiter.previous_ == nullptr ? first_ : waiter.previous_->next_) = &waiter;
  (waiter.next_ == nullptr ? last_ : waiter.next_->previous_) = &waiter;
  waiter.linked_ = true;
  armed_.store(armed_.load(order::relaxed) + 1, order::relaxed);  // Ordered by the fence below.
  unlock();
  if (far_ != nullptr) far_->announce();
  full_fence(armed_, "W1");
}

bool WaitList::remove(Waiter& waiter) noexcept {
  lock();
  const bool linked = waiter.linked_;
  if (linked) unlink(waiter);
  unlock();
  return linked;
}

void WaitList::unlink(Waiter& waiter) noexcept {
  (waiter.previous_ == nullptr ? first_ : waiter.previous_->next_) = waiter.next_;
  (waiter.next_ == nullptr ? last_ : waiter.next_->previous_) = waiter.previous_;
  waiter.next_ = waiter.previous_ = nullptr;
  waiter.linked_ = false;
  armed_.store(armed_.load(order::relaxed) - 1, order::relaxed);  // Under the lock.
}

Waiter* WaitList::unlink_first() noexcept {
  lock();
  Waiter* const waiter = first_;
  if (waiter != nullptr) unlink(*waiter);
  unlock();
  return waiter;
}

void WaitList::wake_one() noexcept {
  if (!anybody_waits()) return;
  for (;;) {
    Waiter* const waiter = unlink_first();
    if (waiter == nullptr) break;
    if (waiter->fire()) return;
  }
  if (far_ != nullptr) far_->wake_one();
}

void WaitList::wake_all() noexcept {
  wake_all_near();
  if (far_ != nullptr) far_->wake_all();
}

void WaitList::wake_all_near() noexcept {
  full_fence(armed_, "W1");
  if (waiting_near() == 0) return;
  // All in line leave it at once: one that comes back while we wake the others keeps its ticket, so
  // taking the first again and again would wake it instead of those behind it.
  lock();
  Waiter* waiter = first_;
  for (Waiter* it = first_; it != nullptr; it = it->next_) it->linked_ = false;
  first_ = last_ = nullptr;
  armed_.store(0, order::relaxed);  // Under the lock.
  unlock();
  while (waiter != nullptr) {
    Waiter* const next = waiter->next_;  // A waiter may be gone once it is fired, not before.
    (void)waiter->fire();                // An owner that is gone needs no wake-up.
    waiter = next;
  }
}

// ThreadWaiter
// -------------------------------------------------------------------------------------

bool ThreadWaiter::fire() noexcept {
  Atomic<std::uint32_t>* const word = &state_;
  const int event = event_;
  word->fetch_or(kFired, order::release("W3"));
  // The waiter may be gone from here on; the wake uses its address only, and whoever sleeps there
  // by then looks again.
  rouse(word, event);
  return true;
}

void ThreadWaiter::interrupt() noexcept {
  state_.fetch_or(kInterrupted, order::release("W3"));
  rouse(&state_, event_);
}

void ThreadWaiter::rouse(Atomic<std::uint32_t>* word, int event) noexcept {
  if (event < 0) {
    futex_wake(word, 1);
  } else {
    event_raise(event);
  }
}

bool ThreadWaiter::interrupted() const noexcept {
  return (state_.load(order::acquire("W3")) & kInterrupted) != 0;
}

ThreadWaiter::Wake ThreadWaiter::park(std::int64_t deadline_ns) noexcept {
  for (;;) {
    std::uint32_t const state = state_.load(order::acquire("W3"));
    if ((state & kFired) != 0) return Wake::fired;
    if ((state & kInterrupted) != 0) return Wake::interrupted;
    if (deadline_ns != kNoDeadline && now_ns() >= deadline_ns) return Wake::timeout;
    const bool undisturbed = event_ < 0 ? futex_wait(state_, state, deadline_ns)
                                        : event_wait(event_, signals_, deadline_ns);
    if (!undisturbed) return Wake::signal;
  }
}

bool ThreadWaiter::leave(WaitList& list) noexcept {
  bool fired = false;
  if (!list.remove(*this)) {
    // Fired, or between unlink and fire(): wait for its last touch.
    for (unsigned turn = 0; (state_.load(order::acquire("W3")) & kFired) == 0; ++turn) {
      spin_pause(turn);
    }
    fired = true;
  }
  state_.fetch_and(~kFired, order::relaxed);  // Only we wait on it.
  return fired;
}

// Mailbox
// ------------------------------------------------------------------------------------------

namespace {

/// Ends the list of a closed mailbox: never followed, and equal to no waiter's address.
MailboxWaiter* closed_mark() noexcept {
  return reinterpret_cast<MailboxWaiter*>(std::uintptr_t{1});
}

}  // namespace

MailboxWaiter::MailboxWaiter(Ref<Mailbox> mailbox) noexcept : mailbox_(std::move(mailbox)) {}
MailboxWaiter::~MailboxWaiter() = default;

bool MailboxWaiter::fire() noexcept {
  const Ref<Mailbox> mailbox = mailbox_;  // Once posted, we may be gone.
  if (mailbox->post(*this)) return true;
  release();
  return false;
}

bool Mailbox::post(MailboxWaiter& waiter) noexcept {
  MailboxWaiter* newest = newest_.load(order::relaxed);  // Only compared, and linked to.
  do {
    if (newest == closed_mark()) return false;
    waiter.next_fired_ = newest;
  } while (!newest_.compare_exchange_weak(newest, &waiter, order::release("M1"), order::relaxed));
  if (awake_.exchange(1, order::release("M2")) == 0) wake();
  return true;
}

MailboxWaiter* Mailbox::take() noexcept {
  awake_.exchange(0, order::acquire("M2"));
  MailboxWaiter* newest = newest_.load(order::relaxed);
  // Not a plain exchange: it would overwrite the mark of a closed mailbox.
  do {
    if (newest == nullptr || newest == closed_mark()) return nullptr;
  } while (!newest_.compare_exchange_weak(newest, nullptr, order::acquire("M1"), order::relaxed));
  return reversed(newest);
}

MailboxWaiter* Mailbox::close() noexcept {
  MailboxWaiter* const newest = newest_.exchange(closed_mark(), order::acquire("M1"));
  return newest == closed_mark() ? nullptr : reversed(newest);
}

MailboxWaiter* Mailbox::reversed(MailboxWaiter* newest) noexcept {
  MailboxWaiter* oldest = nullptr;
  while (newest != nullptr) {
    MailboxWaiter* const next = newest->next_fired_;
    newest->next_fired_ = oldest;
    oldest = newest;
    newest = next;
  }
  return oldest;
}

}  // namespace penstock
