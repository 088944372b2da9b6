// SPDX-License-Identifier: Apache-2.0
#include "penstock/channel.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace penstock {

Channel::Channel(std::uint64_t max_size, Content content,
                 std::unique_ptr<SharedStore> store) noexcept
    : max_size_(max_size), content_(content), store_(std::move(store)) {}

Ref<Channel> Channel::create(std::uint64_t max_size, Content content) noexcept {
  Ref<Channel> channel = Ref<Channel>::steal(new (std::nothrow) Channel(max_size, content));
  if (!channel || channel->queue_.init() != Status::ok) return {};
  return channel;
}

Ref<Channel> Channel::create(std::unique_ptr<SharedStore> store, std::uint64_t max_size,
                             Content content) noexcept {
  SharedStore& shared = *store;
  auto channel =
      Ref<Channel>::steal(new (std::nothrow) Channel(max_size, content, std::move(store)));
  if (!channel) return {};
  channel->data_.set_far(shared.data());
  channel->space_.set_far(shared.space());
  try {
    shared.belongs_to(*channel);
  } catch (const std::bad_alloc&) {
    return {};
  }
  return channel;
}

// Sending
// ------------------------------------------------------------------------------------------

/// Raw bytes that are referred to count, but not the words that refer to them.
std::uint64_t Channel::cost_of(const Message& message) const noexcept {
  return content_ == Content::bytes && message.owns_objects() ? message.pinned() : message.cost();
}

/// Exact: a compare-and-swap admits a message only if it fits at that instant; an addition that is
/// taken back when it does not would refuse others that do.
Status Channel::admit(std::uint64_t cost) noexcept {
  if (max_size_ == 0) {
    admitted_.fetch_add(cost, order::relaxed);
    return Status::ok;
  }
  if (cost > max_size_) return Status::too_large;
  std::uint64_t admitted = admitted_.load(order::acquire("C4"));
  for (;;) {
    if (!fits(admitted + cost)) {
      // Both counts were read one after the other: if others came and went between, they do not
      // belong together.
      std::uint64_t const again = admitted_.load(order::acquire("C4"));
      if (again == admitted) return Status::full;
      admitted = again;
    } else if (admitted_.compare_exchange_weak(admitted, admitted + cost, order::release("C4"),
                                               order::acquire("C4"))) {
      return Status::ok;
    }
  }
}

/// Whether max_size_ allows `admitted` bytes in all. Leaves the consumers' line alone as long as an
/// earlier look at it will do.
bool Channel::fits(std::uint64_t admitted) noexcept {
  if (admitted - released_seen_.load(order::relaxed) <= max_size_) return true;
  std::uint64_t const released = released_.load(order::acquire("C4"));
  released_seen_.store(released, order::relaxed);
  return admitted - released <= max_size_;
}

Status Channel::try_send(Message& message) noexcept {
  const Status status = put(message);
  // The wake-up that brought us here may have been for more room than we took.
  if (status == Status::ok && has_room_for_others()) space_.wake_one();
  return status;
}

bool Channel::has_room_for_others() const noexcept {
  if (max_size_ == 0 || !space_.is_waited_for()) return false;
  return store_ ? store_->has_room() : size() < max_size_;
}

Status Channel::put_shared(Message& message) noexcept {
  if (cost_of(message) > max_size_) return Status::too_large;
  if (const Status status = store_->push(message); status != Status::ok) return status;
  message.clear();
  if (data_.anybody_waits()) wake_receivers();
  return Status::ok;
}

Status Channel::put(Message& message) noexcept {
  if (store_) return put_shared(message);
  if (queue_.is_closed()) return Status::closed;
  std::uint64_t const cost = cost_of(message);
  std::uint64_t const pinned = message.pinned();
  if (const Status status = admit(cost); status != Status::ok) return status;
  if (pinned != 0) pin(pinned);
  if (const Status status = queue_.push(message); status != Status::ok) {
    if (pinned != 0) unpin(pinned);
    admitted_.fetch_sub(cost, order::relaxed);
    space_.wake_one();  // A sender may have been refused because of us.
    return status;
  }
  if (data_.anybody_waits()) wake_receivers();
  return Status::ok;
}

/// Closing woke all receivers, but those that found our claim not yet committed went back to sleep.
/// One of them gets our message; to the others it may have been the last, so all must look. (If the
/// close comes after our look at it, its own wake-up finds our message committed.)
void Channel::wake_receivers() noexcept {
  if (is_closed()) {
    data_.wake_all();
  } else {
    data_.wake_one();
  }
}

Status Channel::send(Message& message, std::int64_t deadline_ns, ThreadWaiter& me,
                     ThreadWaiter::Wake* woken) noexcept {
  for (;;) {
    space_.add(me);
    const Status status = put(message);
    ThreadWaiter::Wake wake = ThreadWaiter::Wake::fired;
    if (status == Status::full) wake = me.park(deadline_ns);
    const bool fired = me.leave(space_);
    if (status != Status::full) {
      // Room may be left for the next one in line, who was not woken if we were.
      if (fired || has_room_for_others()) space_.wake_one();
      WaitList::forget_place(me);
      return status;
    }
    if (wake != ThreadWaiter::Wake::fired) {
      // Fired or not: what does not fit for us may fit for the next one, who was behind us.
      space_.wake_one();
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
    // In a forked child whoever held it is not there, and the store does nothing.
    if (store_ && !store_->is_usable()) return;
    spin_pause(turn);  // Held for one copy.
  }
}

/// As the consumer.
void Channel::note_headway(Status status) noexcept {
  if (status == Status::ok) {
    headway_.took();
  } else if (status == Status::empty) {
    headway_.ran_dry();
  }
}

void Channel::unlock_consumer() noexcept { consumer_.store(0, order::release("C1")); }

Status Channel::try_receive(Message& message) noexcept {
  bool more = false;
  const Status status = take(message, &more);
  if (more) data_.wake_one();
  return status;
}

/// `*more`: another receiver waits, and should look as well. A record that is committed before an
/// older one wakes a receiver in vain, and then the older one's wake-up is for both; and what we
/// have no memory for, somebody else may.
Status Channel::take_shared(Message& message, bool* more) noexcept {
  bool is_wanted = false;
  lock_consumer();
  const Status status = store_->pop(message, &is_wanted);
  note_headway(status);
  unlock_consumer();
  if (status == Status::corrupt) {
    close();
    return Status::closed;
  }
  if (is_wanted) serve_wanting();
  if (status == Status::closed) return status;
  if (status == Status::out_of_memory) *more = true;
  if (status == Status::ok) {
    *more = data_.is_waited_for() && store_->has_record();
    if (space_.is_waited_for()) space_.wake_one();  // Behind the fence of pop().
  } else if (space_.anybody_waits() && store_->has_room()) {
    space_.wake_one();  // What the dead had claimed was skipped.
  }
  return status;
}

/// Somebody found us taking a message, and wanted to take one, or to give room back.
void Channel::serve_wanting() noexcept {
  data_.wake_one();
  collect();
}

void Channel::collect() noexcept {
  lock_consumer();
  const bool is_wanted = store_->collect();
  unlock_consumer();
  if (is_wanted) data_.wake_one();
  if (space_.anybody_waits()) space_.wake_one();
}

Status Channel::take(Message& message, bool* more) noexcept {
  if (store_) return take_shared(message, more);
  lock_consumer();
  const Status status = queue_.pop(message);
  if (status == Status::ok) {
    // The holder of the consumer role is the only writer.
    released_.store(released_.load(order::relaxed) + cost_of(message), order::release("C4"));
    // In this order: where the next message goes is a sender's line.
    *more = data_.is_waited_for() && queue_.has_record();
  }
  note_headway(status);
  unlock_consumer();
  if (status == Status::ok && message.pinned() != 0) unpin(message.pinned());
  if (status == Status::ok && max_size_ != 0) space_.wake_one();
  if (status == Status::out_of_memory) *more = true;
  return status;
}

Status Channel::receive_or_wait(Message& message) noexcept {
  bool more = false;
  const Status status = take_or_wait(message, &more);
  if (more && data_.is_waited_for()) data_.wake_one();
  return status;
}

Status Channel::take_or_wait(Message& message, bool* more) noexcept {
  const bool no_sender = !has_sender();
  Status status = take(message, more);
  // Of a shared one empty may mean that another process takes a message just now.
  if (status == Status::empty && no_sender && !(store_ && store_->has_record())) {
    status = Status::closed;
  }
  // All were told to look when the end came, but those who looked while somebody took what there
  // was, or while what a dead process had claimed lay there, went back to sleep.
  if (store_ && status == Status::closed) data_.wake_one();
  return status;
}

bool Channel::looks_ready() noexcept {
  if (store_) return store_->has_record();
  lock_consumer();
  const bool found = queue_.has_record();
  unlock_consumer();
  return found;
}

Status Channel::receive(Message& message, std::int64_t deadline_ns, ThreadWaiter& me,
                        ThreadWaiter::Wake* woken) noexcept {
  if (const Status status = try_receive(message); status != Status::empty) {
    WaitList::forget_place(me);
    return status;
  }
  std::int64_t const started_ns = now_ns();
  if (const Status status = receive_soon(message, started_ns, deadline_ns);
      status != Status::empty) {
    WaitList::forget_place(me);
    return status;
  }
  return receive_later(message, started_ns, deadline_ns, me, woken);
}

Status Channel::receive_soon(Message& message, std::int64_t started_ns,
                             std::int64_t deadline_ns) noexcept {
  if (!may_come_soon()) return Status::empty;
  headway_.give(started_ns, deadline_ns);
  if (!spin_.spin(started_ns, deadline_ns, [this] { return looks_ready(); })) return Status::empty;
  const Status status = try_receive(message);
  if (status != Status::empty) spin_.learn(now_ns() - started_ns);
  return status;
}

Status Channel::receive_later(Message& message, std::int64_t started_ns, std::int64_t deadline_ns,
                              ThreadWaiter& me, ThreadWaiter::Wake* woken) noexcept {
  for (;;) {
    data_.add(me);
    bool more = false;
    const Status status = take_or_wait(message, &more);
    ThreadWaiter::Wake wake = ThreadWaiter::Wake::fired;
    if (status == Status::empty) wake = me.park(deadline_ns);
    const bool fired = me.leave(data_);
    if (status != Status::empty) {
      // The wake-up we did not need may have been for a message that is still queued.
      if (fired || (more && data_.is_waited_for())) data_.wake_one();
      WaitList::forget_place(me);
      spin_.learn(now_ns() - started_ns);
      return status;
    }
    if (wake != ThreadWaiter::Wake::fired) {
      if (fired) data_.wake_one();
      if (wake != ThreadWaiter::Wake::signal) WaitList::forget_place(me);
      spin_.learn(now_ns() - started_ns);
      *woken = wake;
      return Status::empty;
    }
  }
}

// Ends
// ---------------------------------------------------------------------------------------------

void Channel::close() noexcept {
  if (store_) {
    store_->close();
  } else {
    queue_.close();
  }
  data_.wake_all();
  space_.wake_all();
}

void Channel::add_sender() noexcept {
  if (store_) return count_senders(1);
  senders_.fetch_add(1, order::relaxed);
}

void Channel::remove_sender() noexcept {
  if (store_) return count_senders(-1);
  if (senders_.fetch_sub(1, order::release("C2")) == 1) data_.wake_all();
}

/// What the other processes are told is what was counted last.
void Channel::count_senders(int more) noexcept {
  lock_consumer();
  std::uint32_t const before = senders_.load(order::relaxed);
  std::uint32_t const now = before + static_cast<std::uint32_t>(more);
  senders_.store(now, order::relaxed);
  if (before == 0 || now == 0) store_->set_sender(now != 0);
  unlock_consumer();
  if (now == 0) data_.wake_all();
}

std::uint64_t Channel::size() const noexcept {
  if (store_) return store_->size();
  std::uint64_t const released = released_.load(order::relaxed);
  std::uint64_t const admitted = admitted_.load(order::relaxed);
  // The counts may wrap; released_ was read first and may be the later one.
  const auto difference = static_cast<std::int64_t>(admitted - released);
  std::uint64_t const queued = difference > 0 ? static_cast<std::uint64_t>(difference) : 0;
  // What was received between the two looks may have made room for what was sent.
  return max_size_ == 0 ? queued : std::min(queued, max_size_);
}

// Other processes
// ----------------------------------------------------------------------------------

void Channel::look_for_waiters() noexcept {
  const bool data_called = store_->data().answer(data_);
  const bool space_called = store_->space().answer(space_);
  if (is_closed() || (!has_sender() && !store_->has_record())) {
    data_.wake_all_near();
  } else if ((data_called || data_.waiting_near() != 0) && store_->has_record()) {
    data_.wake_one();
  }
  if (is_closed()) {
    space_.wake_all_near();
  } else if ((space_called || space_.waiting_near() != 0) && store_->has_room()) {
    space_.wake_one();
  }
}

bool Channel::recover(unsigned process) noexcept {
  lock_consumer();
  const bool done = store_->recover(process);
  unlock_consumer();
  if (done) {
    data_.wake_all();
    space_.wake_all();
  }
  return done;
}

}  // namespace penstock
