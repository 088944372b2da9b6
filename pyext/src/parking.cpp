// SPDX-License-Identifier: Apache-2.0
#include "parking.hpp"

#include <pthread.h>

#include <utility>

namespace penstock::python {

namespace {

constinit Parking process_parking;
constinit thread_local Interruptible* current_context = nullptr;

}  // namespace

class Parking::Guard {
 public:
  explicit Guard(Parking& parking) noexcept : lock_(parking.lock_) {
    for (unsigned turn = 0; lock_.exchange(1, order::acquire("K1")) != 0; ++turn) spin_pause(turn);
  }
  ~Guard() { lock_.store(0, order::release("K1")); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  Atomic<std::uint32_t>& lock_;
};

Parking& parking() noexcept { return process_parking; }

void forget_parked_in_children() noexcept {
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { process_parking.forget_others(); });
  (void)registered;
}

Interruptible* this_context() noexcept { return current_context; }
void set_this_context(Interruptible* context) noexcept { current_context = context; }

bool Parking::enter(ParkedThread& thread) noexcept {
  const Guard guard(*this);
  const Interruptible* const owner = thread.owner;
  thread.reason = Reason::none;
  if (is_stopped_ || (owner != nullptr && owner->is_stopping)) {
    thread.reason = Reason::stopped;
  } else if (owner != nullptr && owner->running != nullptr && owner->running->is_requested) {
    thread.reason = Reason::interrupted;
  }
  if (thread.reason != Reason::none) return false;
  thread.previous = nullptr;
  thread.next = threads_;
  if (threads_ != nullptr) threads_->previous = &thread;
  threads_ = &thread;
  return true;
}

void Parking::leave(ParkedThread& thread) noexcept {
  const Guard guard(*this);
  if (thread.next != nullptr) thread.next->previous = thread.previous;
  (thread.previous != nullptr ? thread.previous->next : threads_) = thread.next;
}

void Parking::add(LoopMailbox& mailbox) noexcept {
  const Guard guard(*this);
  mailbox.next_ = mailboxes_;
  if (mailboxes_ != nullptr) mailboxes_->previous_ = &mailbox;
  mailboxes_ = &mailbox;
}

void Parking::set_owner(LoopMailbox& mailbox, Interruptible* owner) noexcept {
  if (mailbox.owner_ == owner) return;  // Who changes it has the GIL, as we do.
  const Guard guard(*this);
  mailbox.owner_ = owner;
}

void Parking::remove(LoopMailbox& mailbox) noexcept {
  const Guard guard(*this);
  if (mailbox.next_ != nullptr) mailbox.next_->previous_ = mailbox.previous_;
  (mailbox.previous_ != nullptr ? mailbox.previous_->next_ : mailboxes_) = mailbox.next_;
}

bool Parking::is_running(const Interruptible& owner) noexcept {
  const Guard guard(*this);
  return owner.running != nullptr;
}

bool Parking::is_stopping(const Interruptible& owner) noexcept {
  const Guard guard(*this);
  return owner.is_stopping;
}

/// nullptr: everybody.
void Parking::wake_locked(const Interruptible* owner, Reason reason) noexcept {
  for (ParkedThread* thread = threads_; thread != nullptr; thread = thread->next) {
    if (owner != nullptr && thread->owner != owner) continue;
    if (thread->reason != Reason::stopped) thread->reason = reason;
    thread->waiter.interrupt();
  }
  for (LoopMailbox* mailbox = mailboxes_; mailbox != nullptr; mailbox = mailbox->next_) {
    if (owner == nullptr || mailbox->owner_ == owner) mailbox->wake();
  }
}

void Parking::set_stopped(bool stopped) noexcept {
  const Guard guard(*this);
  is_stopped_ = stopped;
  if (!stopped) return;
  stops_.fetch_add(1, order::relaxed);
  wake_locked(nullptr, Reason::stopped);
}

bool Parking::must_stop(const Interruptible* owner) noexcept {
  const Guard guard(*this);
  return is_stopped_ || (owner != nullptr && owner->is_stopping);
}

void Parking::begin(Interruptible& owner, RunningCall& call) noexcept {
  const Guard guard(*this);
  call.is_requested = owner.is_stopping;
  call.outer = owner.running;
  owner.running = &call;
}

bool Parking::end(Interruptible& owner) noexcept {
  const Guard guard(*this);
  const bool was_requested = owner.running->is_requested;
  owner.running = owner.running->outer;
  return was_requested;
}

void Parking::set_suspended(Interruptible& owner, bool has_suspended) noexcept {
  const Guard guard(*this);
  owner.has_suspended = has_suspended;
  owner.is_requested = false;
}

bool Parking::take_suspended_request(Interruptible& owner) noexcept {
  const Guard guard(*this);
  return std::exchange(owner.is_requested, false);
}

bool Parking::interrupt(Interruptible& owner, const Call* only) noexcept {
  const Guard guard(*this);
  if (owner.running == nullptr && only == nullptr && owner.has_suspended) owner.is_requested = true;
  const RunningCall* last = owner.running;
  while (last != nullptr && only != nullptr && last->call != only) last = last->outer;
  if (last == nullptr) return false;
  for (RunningCall* each = owner.running;; each = each->outer) {
    each->is_requested = true;
    if (each == last) break;
  }
  wake_locked(&owner, Reason::interrupted);
  return true;
}

void Parking::stop(Interruptible& owner) noexcept {
  const Guard guard(*this);
  owner.is_stopping = true;
  for (RunningCall* each = owner.running; each != nullptr; each = each->outer) {
    each->is_requested = true;
  }
  wake_locked(&owner, Reason::stopped);
}

bool Parking::take_request(Interruptible& owner) noexcept {
  const Guard guard(*this);
  return owner.running != nullptr && std::exchange(owner.running->is_requested, false);
}

void Parking::wake(Interruptible& owner) noexcept {
  const Guard guard(*this);
  wake_locked(&owner, owner.is_stopping ? Reason::stopped : Reason::interrupted);
}

void Parking::forget_others() noexcept {
  lock_.store(0, order::relaxed);
  threads_ = nullptr;
  mailboxes_ = nullptr;
}

}  // namespace penstock::python
