// SPDX-License-Identifier: Apache-2.0
#include "penstock/channel.hpp"

#include <algorithm>
#include <new>

namespace penstock {

namespace {

constexpr std::uint32_t kFirstSpin_ns = 5'000;

}  // namespace

Channel::Channel(std::uint64_t max_size) noexcept
    : max_size_(max_size), spin_ns_(std::min(kFirstSpin_ns, spin_limit_ns())) {}

Channel::~Channel() {
  if (Object* const peer = peer_.load(order::relaxed)) peer->release();  // O1 ordered it.
}

Ref<Channel> Channel::create(std::uint64_t max_size) noexcept {
  Ref<Channel> channel = Ref<Channel>::steal(new (std::nothrow) Channel(max_size));
  if (!channel || channel->queue_.init() != Status::ok) return {};
  return channel;
}

// Sending
// ------------------------------------------------------------------------------------------

/// Exact: a compare-and-swap admits a message only if it fits at that instant; an addition that is
/// taken back when it does not would refuse others that do.
Status Channel::admit(std::uint64_t cost) noexcept {
  if (max_size_ == 0) {
    admitted_.fetch_add(cost, order::relaxed);
    return Status::ok;
  }
  if (cost > max_size_) return Status::too_large;
  // Counts only, which give nobody access to anything: relaxed. A stale released_ is a smaller one.
  std::uint64_t admitted = admitted_.load(order::relaxed);
  do {
    std::uint64_t const queued = admitted - released_.load(order::relaxed);
    if (queued > max_size_ - cost) return Status::full;
  } while (
      !admitted_.compare_exchange_weak(admitted, admitted + cost, order::relaxed, order::relaxed));
  return Status::ok;
}

Status Channel::try_send(Message& message) noexcept {
  if (queue_.is_closed()) return Status::closed;
  std::uint64_t const cost = message.cost();
  if (const Status status = admit(cost); status != Status::ok) return status;
  if (const Status status = queue_.push(message); status != Status::ok) {
    admitted_.fetch_sub(cost, order::relaxed);
    space_.wake_one();  // A sender may have been refused because of us.
    return status;
  }
  data_.wake_one();
  return Status::ok;
}

Status Channel::send(Message& message, std::int64_t deadline_ns, ThreadWaiter& me,
                     ThreadWaiter::Wake* woken) noexcept {
  for (;;) {
    space_.add(me);
    const Status status = try_send(message);
    ThreadWaiter::Wake wake = ThreadWaiter::Wake::fired;
    if (status == Status::full) wake = me.park(deadline_ns);
    const bool fired = me.leave(space_);
    if (status != Status::full) {
      // Room may be left for the next one in line, who was not woken if we were.
      if (fired) space_.wake_one();
      WaitList::forget_place(me);
      return status;
    }
    if (wake != ThreadWaiter::Wake::fired) {
      if (fired) space_.wake_one();
      if (wake != ThreadWaiter::Wake::signal) WaitList::forget_place(me);
      *woken = wake;
      return Status::full;
    }
  }
}

// Receiving
// ----------------------------------------------------------------------------------------

void Channel::lock_consumer() noexcept {
  for (unsigned turn = 0; consumer_.exchange(1, order::acquire("C1")) != 0; ++turn) {
    spin_pause(turn);
  }
}

void Channel::unlock_consumer() noexcept { consumer_.store(0, order::release("C1")); }

Status Channel::try_receive(Message& message) noexcept {
  lock_consumer();
  const Status status = queue_.pop(message);
  if (status == Status::ok) {
    // The holder of the consumer role is the only writer.
    released_.store(released_.load(order::relaxed) + message.cost(), order::relaxed);
  }
  unlock_consumer();
  if (status == Status::ok && max_size_ != 0) space_.wake_one();
  return status;
}

Status Channel::receive_or_wait(Message& message) noexcept {
  const bool no_sender = senders_.load(order::acquire("C2")) == 0;
  const Status status = try_receive(message);
  return status == Status::empty && no_sender ? Status::closed : status;
}

/// Looks for a message without being in line, for as long as that paid lately: the next message of
/// a stream comes within microseconds, and parking costs the sender a system call.
bool Channel::spin_for_data(std::int64_t started_ns, std::int64_t deadline_ns) noexcept {
  std::uint32_t const budget = spin_ns_.load(order::relaxed);
  if (budget == 0) return false;
  std::int64_t const until = std::min(started_ns + budget, deadline_ns);
  do {
    for (int look = 0; look < 16; ++look) {
      lock_consumer();
      const bool found = queue_.has_record();
      unlock_consumer();
      if (found) return true;
      for (int pause = 0; pause < 4; ++pause) spin_pause(0);
    }
  } while (now_ns() < until);
  return false;
}

/// Doubles what spinning may cost after a wait that was short enough to be spun through, halves it
/// after a longer one.
void Channel::learn(std::int64_t waited_ns) noexcept {
  std::uint32_t const limit = spin_limit_ns();
  std::uint32_t const budget = spin_ns_.load(order::relaxed);
  spin_ns_.store(
      waited_ns < limit ? std::min(limit, std::max(2 * budget, kFirstSpin_ns)) : budget / 2,
      order::relaxed);
}

Status Channel::receive(Message& message, std::int64_t deadline_ns, ThreadWaiter& me,
                        ThreadWaiter::Wake* woken) noexcept {
  std::int64_t const started = now_ns();
  if (spin_for_data(started, deadline_ns)) {
    const Status status = try_receive(message);
    if (status != Status::empty) {
      learn(now_ns() - started);
      return status;
    }
  }
  for (;;) {
    data_.add(me);
    const Status status = receive_or_wait(message);
    ThreadWaiter::Wake wake = ThreadWaiter::Wake::fired;
    if (status == Status::empty) wake = me.park(deadline_ns);
    const bool fired = me.leave(data_);
    if (status != Status::empty) {
      // The wake-up we did not need may have been for a message that is still queued.
      if (fired) data_.wake_one();
      WaitList::forget_place(me);
      learn(now_ns() - started);
      return status;
    }
    if (wake != ThreadWaiter::Wake::fired) {
      if (fired) data_.wake_one();
      if (wake != ThreadWaiter::Wake::signal) WaitList::forget_place(me);
      *woken = wake;
      return Status::empty;
    }
  }
}

// Ends
// ---------------------------------------------------------------------------------------------

void Channel::close() noexcept {
  queue_.close();
  data_.wake_all();
  space_.wake_all();
}

void Channel::add_sender() noexcept { senders_.fetch_add(1, order::relaxed); }

void Channel::remove_sender() noexcept {
  if (senders_.fetch_sub(1, order::release("C2")) == 1) data_.wake_all();
}

std::uint64_t Channel::size() const noexcept {
  std::uint64_t const released = released_.load(order::relaxed);
  std::uint64_t const admitted = admitted_.load(order::relaxed);
  return admitted > released ? admitted - released : 0;
}

Object* Channel::peer() const noexcept { return peer_.load(order::acquire("C3")); }

bool Channel::set_peer(Ref<Object>& peer) noexcept {
  Object* none = nullptr;
  if (!peer_.compare_exchange_strong(none, peer.get(), order::release("C3"), order::relaxed)) {
    return false;
  }
  (void)peer.take();  // Ours now.
  return true;
}

}  // namespace penstock
