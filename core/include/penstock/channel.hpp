// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "penstock/message.hpp"
#include "penstock/queue.hpp"
#include "penstock/ref.hpp"
#include "penstock/shared_store.hpp"
#include "penstock/spin.hpp"
#include "penstock/status.hpp"
#include "penstock/waiter.hpp"

namespace penstock {

/// A queue of messages between Erlang and Python: any number of senders, receivers and waiters of
/// any kind, first in first out for each sender, bounded in bytes or not.
///
/// Threads: everything from any thread. try_* never blocks and never needs the GIL or a VM lock.
/// Receivers share one consumer role under a try-lock that is held for the copy of one message of
/// at most 8 KiB (longer ones change hands by pointer).
///
/// Fairness: waiters are woken first come, first served. One that looks without waiting may be
/// faster than one that has just been woken, who then gets its old place back; and a small message
/// waits behind a large one that came before it.
///
/// Cost: a send is one compare-and-swap, one fetch-and-add, one copy, one fence; no allocation (a
/// new 64 KiB slab comes recycled), no system call unless somebody sleeps.
///
/// Shared with other processes: its messages lie in a ring in shared memory (SharedQueue), as
/// copies. The room of a message is a multiple of 64 bytes, and the ring is at least twice as large
/// as max_size, which only says how large one message may be.
///
/// Units: sizes are bytes of wire form plus the bytes of large binaries that it refers to; in a
/// channel of raw bytes exactly those bytes.
///
/// Memory ordering: what a thread did before its send is visible to the thread that receives it.
///
/// Edges:
///   C1  unlock -> lock of consumer_: the queue's consumer side moves between threads.
///   C2  remove_sender decrements senders_, release -> has_sender loads it, acquire, and then its
///       caller looks for a message: "no sender left" is read before "empty", so what the last
///       sender sent is not missed.
///   C4  admit raises admitted_, a receiver released_, release -> admit reads each, acquire: it
///       never sees one count without what came before it of the other, and so never refuses what
///       fits.
///   W1  (waiter.hpp) commit or close against receivers that go to sleep, released_ against senders
///       that do.
class Channel final : public Shareable {
 public:
  /// What its messages are: terms in wire form, or raw bytes (bytes.hpp).
  enum class Content : std::uint8_t { terms, bytes };

  /// `max_size` 0: unbounded. nullptr when memory ran out.
  [[nodiscard]] static Ref<Channel> create(std::uint64_t max_size,
                                           Content content = Content::terms) noexcept;
  /// One that other processes use as well.
  [[nodiscard]] static Ref<Channel> create(std::unique_ptr<SharedStore> store,
                                           std::uint64_t max_size, Content content) noexcept;
  [[nodiscard]] Content content() const noexcept { return content_; }
  /// nullptr: only this process uses it.
  [[nodiscard]] SharedStore* shared() const noexcept { return store_.get(); }
  [[nodiscard]] const SharedMemory* shared_memory() const noexcept override { return store_.get(); }

  /// Moves `message` into the channel: ok, or full, too_large, closed, out_of_memory and the
  /// message stays as it is.
  [[nodiscard]] Status try_send(Message& message) noexcept;
  /// Moves the oldest message out, into an empty `message`: ok, empty, closed (and drained), or
  /// out_of_memory, and then the message is still queued.
  [[nodiscard]] Status try_receive(Message& message) noexcept;

  /// Blocks this thread until there is a message or an end, `deadline_ns` of CLOCK_MONOTONIC (then
  /// Status::empty), or `me` is interrupted or a signal arrives (then `*woken` tells which).
  /// Spins for a little while first if that paid lately. Release the GIL before.
  [[nodiscard]] Status receive(Message& message, std::int64_t deadline_ns, ThreadWaiter& me,
                               ThreadWaiter::Wake* woken) noexcept;
  /// Its two parts, for those to whom getting ready to sleep costs something: spins, and takes what
  /// comes as try_receive does; if that was in vain, sleeps. `started_ns`: when the wait began.
  [[nodiscard]] Status receive_soon(Message& message, std::int64_t started_ns,
                                    std::int64_t deadline_ns) noexcept;
  /// Whether receive_soon() would spin now.
  [[nodiscard]] bool may_come_soon() const noexcept { return spin_.ns() != 0; }
  [[nodiscard]] Status receive_later(Message& message, std::int64_t started_ns,
                                     std::int64_t deadline_ns, ThreadWaiter& me,
                                     ThreadWaiter::Wake* woken) noexcept;
  /// Same for room: ok, too_large, closed, out_of_memory, or full and `*woken`.
  [[nodiscard]] Status send(Message& message, std::int64_t deadline_ns, ThreadWaiter& me,
                            ThreadWaiter::Wake* woken) noexcept;

  /// No send succeeds afterwards; what is queued can still be received. Wakes everybody.
  /// Idempotent.
  void close() noexcept;
  [[nodiscard]] bool is_closed() const noexcept {
    return store_ ? store_->is_closed() : queue_.is_closed();
  }

  /// Bytes queued; exact when nobody is sending or receiving, never above max_size.
  [[nodiscard]] std::uint64_t size() const noexcept;
  [[nodiscard]] std::uint64_t max_size() const noexcept { return max_size_; }

  /// Whoever could still send is counted: Erlang's reference, and Python once it has sent. When the
  /// last one goes, receivers learn that waiting is in vain: an empty channel reads as closed to
  /// them. (Not to try_receive: a sender may come back.)
  void add_sender() noexcept;
  void remove_sender() noexcept;
  /// Look before looking whether the channel is empty: what the last one sent is then not missed.
  [[nodiscard]] bool has_sender() const noexcept {
    return store_ ? store_->has_sender() : senders_.load(order::acquire("C2")) != 0;
  }

  /// For waiters that are not threads: add to the list, try again, then sleep. See waiter.hpp.
  [[nodiscard]] WaitList& data_waiters() noexcept { return data_; }
  [[nodiscard]] WaitList& space_waiters() noexcept { return space_; }
  /// As try_receive, for somebody in line or about to sleep: closed, too, when no sender is left.
  [[nodiscard]] Status receive_or_wait(Message& message) noexcept;

  /// Somebody has read what he took in place: its room is given back.
  void collect() noexcept;
  void look_for_waiters() noexcept override;
  [[nodiscard]] bool recover(unsigned process) noexcept override;
  /// A fired waiter leaves without having looked: gives its wake-up to the next one. One that waits
  /// for space does so even if it was not fired: what did not fit for it may fit for the next.
  void pass_on_data() noexcept { data_.wake_one(); }
  void pass_on_space() noexcept { space_.wake_one(); }

  /// Bytes of large binaries that this channel keeps alive: those that queued messages refer to,
  /// and those of views taken from it, which their owner counts in and out.
  [[nodiscard]] std::uint64_t pinned() const noexcept { return pinned_.load(order::relaxed); }
  void pin(std::uint64_t bytes) noexcept { pinned_.fetch_add(bytes, order::relaxed); }
  void unpin(std::uint64_t bytes) noexcept { pinned_.fetch_sub(bytes, order::relaxed); }

 private:
  Channel(std::uint64_t max_size, Content content,
          std::unique_ptr<SharedStore> store = nullptr) noexcept;
  ~Channel() override = default;
  [[nodiscard]] std::uint64_t cost_of(const Message& message) const noexcept;
  [[nodiscard]] Status admit(std::uint64_t cost) noexcept;
  [[nodiscard]] bool fits(std::uint64_t admitted) noexcept;
  [[nodiscard]] Status put(Message& message) noexcept;
  [[nodiscard]] Status put_shared(Message& message) noexcept;
  [[nodiscard]] bool has_room_for_others() const noexcept;
  void wake_receivers() noexcept;
  [[nodiscard]] Status take(Message& message, bool* more) noexcept;
  [[nodiscard]] Status take_shared(Message& message, bool* more) noexcept;
  void serve_wanting() noexcept;
  [[nodiscard]] Status take_or_wait(Message& message, bool* more) noexcept;
  [[nodiscard]] bool looks_ready() noexcept;
  void count_senders(int more) noexcept;
  void lock_consumer() noexcept;
  void unlock_consumer() noexcept;
  void note_headway(Status status) noexcept;

  const std::uint64_t max_size_;
  const Content content_;
  const std::unique_ptr<SharedStore> store_;  // Then queue_ and the counts below are not used.
  Atomic<std::uint32_t> senders_{0};
  Atomic<std::uint64_t> pinned_{0};  // A statistic; touched by large messages only.

  Queue queue_;

  // Producers' line. admitted_ - released_ = bytes queued, and never exceeds max_size_.
  alignas(128) Atomic<std::uint64_t> admitted_{0};
  Atomic<std::uint64_t> released_seen_{0};  // A past released_: the channel is at least as empty.

  // Consumers' line.
  alignas(128) Atomic<std::uint64_t> released_{0};
  Atomic<std::uint32_t> consumer_{0};
  Headway headway_;
  SpinBudget spin_;

  // Read by everybody, written only when somebody sleeps.
  alignas(128) WaitList data_;
  WaitList space_;
};

}  // namespace penstock
