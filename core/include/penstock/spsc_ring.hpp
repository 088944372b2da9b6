// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "penstock/ring_layout.hpp"
#include "penstock/status.hpp"

namespace penstock {

/// Byte ring with one producer and one consumer, in memory that two processes may share.
///
/// A record is {u32 bytes, u32 kind}, payload, padding to 8. One that would cross the end is
/// preceded by a padding record, so the longest that always fits is half the capacity less a
/// header.
///
/// Threads: one SpscProducer and one SpscConsumer exist at a time; a role may move between threads
/// if the hand-over itself synchronises.
/// Cost: every call is O(1), wait-free, allocates nothing, makes no system call (wake_* may).
/// Errors: a peer that writes impossible positions or lengths yields Status::corrupt; memory
/// outside the ring is never touched, whatever it writes.
///
/// Edges:
///   R1  publish stores tail, release -> peek loads it, acquire: the records' bytes are there.
///   R2  release stores head, release -> try_claim loads it, acquire: the room is free to reuse.
class SpscRing {
 public:
  static constexpr std::size_t kHeaderBytes = 8;
  static constexpr std::uint64_t kLeastCapacity = 16;

  [[nodiscard]] static constexpr std::size_t bytes_for(std::uint64_t capacity) {
    return sizeof(RingHeader) + capacity;
  }
  [[nodiscard]] static constexpr std::uint64_t max_record(std::uint64_t capacity) {
    return capacity / 2 - kHeaderBytes;
  }
  /// `memory` is zeroed and bytes_for(capacity) long; `capacity` a power of two from 16 to 2^31.
  static void format(std::span<std::uint8_t> memory, std::uint64_t capacity,
                     std::uint64_t position = 0) noexcept {
    ring::format(memory, RingKind::spsc, capacity, position, position);
  }
  /// Whether another process formatted `memory` for `capacity`.
  [[nodiscard]] static bool attach(std::span<std::uint8_t> memory,
                                   std::uint64_t capacity) noexcept {
    return ring::check(memory, RingKind::spsc, capacity, kLeastCapacity, bytes_for(capacity)) !=
           nullptr;
  }

  /// Bytes that are written and not taken. A hint, for any thread.
  [[nodiscard]] std::uint64_t used() const noexcept {
    std::uint64_t const head = header_->head.load(order::relaxed);
    std::uint64_t const tail = header_->tail.load(order::relaxed) & ~ring::kClosed;
    return std::min(tail - head, capacity_);
  }

 protected:
  enum Kind : std::uint32_t { kData = 1, kPadding = 2 };
  struct RecordHeader {
    std::uint32_t bytes;
    std::uint32_t kind;
  };
  static_assert(sizeof(RecordHeader) == kHeaderBytes);

  SpscRing(RingHeader* header, std::uint64_t capacity) noexcept
      : header_(header),
        records_(reinterpret_cast<std::uint8_t*>(header) + sizeof(RingHeader)),
        capacity_(capacity) {}

  [[nodiscard]] static constexpr std::uint64_t aligned(std::uint64_t bytes) {
    return (bytes + 7) & ~std::uint64_t{7};
  }
  [[nodiscard]] std::uint64_t offset(std::uint64_t position) const noexcept {
    return position & (capacity_ - 1);
  }
  /// Where a role takes over. Whoever wrote it, no header will cross the end of the ring.
  [[nodiscard]] static constexpr std::uint64_t position(std::uint64_t shared_word) {
    return shared_word & ~std::uint64_t{7};
  }

  RingHeader* header_;
  std::uint8_t* records_;
  std::uint64_t capacity_;  // Our own copy: the shared one is not trusted.
};

class SpscProducer : public SpscRing {
 public:
  /// `memory` was formatted for `capacity`; check with attach() if another process did that.
  SpscProducer(std::span<std::uint8_t> memory, std::uint64_t capacity) noexcept
      : SpscRing(reinterpret_cast<RingHeader*>(memory.data()), capacity),
        tail_(header_->tail.load(order::relaxed)),  // Only producers write it.
        head_seen_(header_->head.load(order::acquire("R2"))),
        closed_((tail_ & ring::kClosed) != 0) {
    tail_ = position(tail_);
  }

  /// Room for one record: ok, full, too_large, closed or corrupt. Write, then commit().
  [[nodiscard]] Status try_claim(std::size_t bytes, std::uint8_t** room) noexcept {
    if (bytes > max_record(capacity_)) return Status::too_large;
    if (closed_) return Status::closed;
    std::uint64_t const need = kHeaderBytes + aligned(bytes);
    std::uint64_t const to_end = capacity_ - offset(tail_);
    std::uint64_t const padding = need > to_end ? to_end : 0;
    if (tail_ + padding + need - head_seen_ > capacity_) {
      if (!refresh_head()) return Status::corrupt;
      if (tail_ + padding + need - head_seen_ > capacity_) return Status::full;
    }
    if (padding != 0)
      put_header(static_cast<std::uint32_t>(padding - kHeaderBytes), kPadding, padding);
    std::uint8_t* const record = records_ + offset(tail_);
    const RecordHeader header{static_cast<std::uint32_t>(bytes), kData};
    copy_in(record, &header, sizeof header);
    claimed_ = need;
    *room = record + kHeaderBytes;
    return Status::ok;
  }
  /// Completes the claimed record; the consumer sees it after publish().
  void commit() noexcept { tail_ += claimed_; }
  /// Makes all committed records visible. Once for a batch is what makes batches fast.
  void publish() noexcept {
    header_->tail.store(tail_ | (closed_ ? ring::kClosed : 0), order::release("R1"));
  }
  /// After publish(): wakes the consumer if it sleeps. Costs a fence.
  void wake_consumer() noexcept { header_->data.notify(); }

  /// One whole record, published.
  [[nodiscard]] Status try_send(std::span<const std::uint8_t> record) noexcept {
    std::uint8_t* room = nullptr;
    if (const Status status = try_claim(record.size(), &room); status != Status::ok) return status;
    copy_in(room, record.data(), record.size());
    commit();
    publish();
    return Status::ok;
  }
  /// Publishes what is committed and ends the stream.
  void close() noexcept {
    closed_ = true;
    publish();
    wake_consumer();
  }
  [[nodiscard]] Gate& space() noexcept { return header_->space; }

 private:
  void put_header(std::uint32_t bytes, Kind kind, std::uint64_t step) noexcept {
    const RecordHeader header{bytes, kind};
    copy_in(records_ + offset(tail_), &header, sizeof header);
    tail_ += step;
  }
  [[nodiscard]] bool refresh_head() noexcept {
    std::uint64_t const head = header_->head.load(order::acquire("R2"));
    if (tail_ - head > capacity_ || head - head_seen_ > tail_ - head_seen_ || head % 8 != 0)
      return false;
    head_seen_ = head;
    return true;
  }

  std::uint64_t tail_;  // Includes what is committed but not published.
  std::uint64_t claimed_ = 0;
  std::uint64_t head_seen_;  // A stale copy: the ring is at least as empty as it says.
  bool closed_;
};

class SpscConsumer : public SpscRing {
 public:
  SpscConsumer(std::span<std::uint8_t> memory, std::uint64_t capacity) noexcept
      : SpscRing(reinterpret_cast<RingHeader*>(memory.data()), capacity),
        head_(position(header_->head.load(order::relaxed))),  // Only consumers write it.
        released_(head_),
        tail_seen_(head_) {}

  /// The oldest record, in place, valid until consume(): ok, empty, closed (and drained) or
  /// corrupt.
  [[nodiscard]] Status peek(std::span<const std::uint8_t>* record) noexcept {
    for (;;) {
      if (head_ == tail_seen_) {
        if (const Status status = refresh_tail(); status != Status::ok) {
          release();
          return status;
        }
      }
      RecordHeader header;
      copy_out(&header, records_ + offset(head_), sizeof header);
      std::uint64_t const step = kHeaderBytes + aligned(header.bytes);
      if (step > tail_seen_ - head_ || step > capacity_ - offset(head_)) return Status::corrupt;
      if (header.kind == kData) {
        *record = {records_ + offset(head_) + kHeaderBytes, header.bytes};
        step_ = step;
        return Status::ok;
      }
      // Padding ends with the ring and never begins it: nobody keeps us in this loop.
      if (header.kind != kPadding || offset(head_) == 0 || step != capacity_ - offset(head_)) {
        return Status::corrupt;
      }
      head_ += step;
    }
  }
  /// Gives up the peeked record. The producer gets the room back an eighth of the ring at a time,
  /// when the ring is found empty, or by release().
  void consume() noexcept {
    head_ += step_;
    if (head_ - released_ >= capacity_ / 8) release();
  }
  /// Gives all consumed room back now, and wakes the producer if it sleeps. Costs a fence.
  void release() noexcept {
    if (head_ == released_) return;
    header_->head.store(head_, order::release("R2"));
    released_ = head_;
    header_->space.notify();
  }
  /// Copies one record out; too_large, and it stays, if `room` is too small.
  [[nodiscard]] Status try_receive(std::span<std::uint8_t> room, std::size_t* bytes) noexcept {
    std::span<const std::uint8_t> record;
    if (const Status status = peek(&record); status != Status::ok) return status;
    if (record.size() > room.size()) return Status::too_large;
    copy_out(room.data(), record.data(), record.size());
    *bytes = record.size();
    consume();
    return Status::ok;
  }
  [[nodiscard]] Gate& data() noexcept { return header_->data; }

 private:
  [[nodiscard]] Status refresh_tail() noexcept {
    std::uint64_t const word = header_->tail.load(order::acquire("R1"));
    std::uint64_t const tail = word & ~ring::kClosed;
    if (tail - head_ > capacity_ || tail % 8 != 0) return Status::corrupt;
    tail_seen_ = tail;
    if (tail != head_) return Status::ok;
    return (word & ring::kClosed) != 0 ? Status::closed : Status::empty;
  }

  std::uint64_t head_;
  std::uint64_t released_;   // What the producer knows of head_.
  std::uint64_t tail_seen_;  // A stale copy: the ring is at least as full as it says.
  std::uint64_t step_ = 0;
};

}  // namespace penstock
