// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>

#include "penstock/ring_layout.hpp"
#include "penstock/status.hpp"

namespace penstock {

/// Byte ring with several producers and one consumer, in memory that processes may share.
///
/// Records start on 64-byte granules. A producer claims granules by compare-and-swap, writes, and
/// commits by storing the entry of the first granule: {lap, 1, bytes}. An entry stamped with an
/// earlier lap is stale, so nothing is ever cleared, and payload can never be taken for control.
/// The 1 keeps a fresh, zeroed entry stale in every lap.
///
///   entry   63        21 20 19        0
///           │ lap       │ 1│ bytes     │     bytes = kPadding: skip to the end of the ring
///
/// Threads: any number of producers, each with an MpscProducer of its own; one MpscConsumer.
/// Cost: O(1), allocates nothing, makes no system call; a claim is lock-free. A producer that stops
/// between claim and commit delays the records behind its own, nothing else.
/// Units: capacity is a power of two from 256 bytes; the longest record is half of it, below 1 MiB.
/// Positions count granules in 63 bits and never wrap in practice (thousands of years at 5 GB/s);
/// laps of 43 bits do, but only an entry that was not written for 2^43 laps could tell.
/// Errors: impossible values from a peer yield Status::corrupt.
///
/// Edges:
///   P1  commit stores the entry, release -> peek loads it, acquire: the record's bytes are there.
///   P2  release stores head, release -> a producer loads it, acquire: the room is free to reuse.
///   P3  a producer stores head_seen, release -> another loads it, acquire: P2 for those that did
///       not look at head themselves.
///   P4  a claim moves tail, release -> another producer loads it, acquire, and then head: it sees
///       no older head than that claim did, and so never refuses what fits.
class MpscRing {
 public:
  static constexpr std::uint64_t kGranule = 64;
  static constexpr std::uint64_t kLeastCapacity = 256;
  static constexpr std::uint64_t kLengthMask = (std::uint64_t{1} << 20) - 1;
  static constexpr std::uint64_t kPadding = kLengthMask;

  [[nodiscard]] static constexpr std::size_t bytes_for(std::uint64_t capacity) {
    return sizeof(RingHeader) + capacity / kGranule * sizeof(std::uint64_t) + capacity;
  }
  [[nodiscard]] static constexpr std::uint64_t max_record(std::uint64_t capacity) {
    return std::min(capacity / 2, kPadding - 1);
  }
  /// `memory` is zeroed. `granule`: where positions start, for tests.
  static void format(std::span<std::uint8_t> memory, std::uint64_t capacity,
                     std::uint64_t granule = 0) noexcept {
    ring::format(memory, RingKind::mpsc, capacity, granule << 1, granule);
  }
  [[nodiscard]] static bool attach(std::span<std::uint8_t> memory,
                                   std::uint64_t capacity) noexcept {
    return ring::check(memory, RingKind::mpsc, capacity, kLeastCapacity, bytes_for(capacity)) !=
           nullptr;
  }

 protected:
  MpscRing(std::span<std::uint8_t> memory, std::uint64_t capacity) noexcept
      : header_(reinterpret_cast<RingHeader*>(memory.data())),
        entries_(reinterpret_cast<Atomic<std::uint64_t>*>(memory.data() + sizeof(RingHeader))),
        granules_(capacity / kGranule),
        shift_(static_cast<unsigned>(std::countr_zero(granules_))),
        records_(memory.data() + sizeof(RingHeader) + granules_ * sizeof(std::uint64_t)) {}

  [[nodiscard]] static constexpr std::uint64_t granules_of(std::uint64_t bytes) {
    return bytes == 0 ? 1 : (bytes + kGranule - 1) / kGranule;
  }
  [[nodiscard]] std::uint64_t index(std::uint64_t granule) const noexcept {
    return granule & (granules_ - 1);
  }
  [[nodiscard]] std::uint64_t stamp(std::uint64_t granule) const noexcept {
    return ((granule >> shift_) << 1 | 1) << 20;
  }
  [[nodiscard]] std::uint8_t* at(std::uint64_t granule) const noexcept {
    return records_ + index(granule) * kGranule;
  }

  RingHeader* header_;
  Atomic<std::uint64_t>* entries_;
  std::uint64_t granules_;  // Our own copy: the shared capacity is not trusted.
  unsigned shift_;
  std::uint8_t* records_;
};

class MpscProducer : public MpscRing {
 public:
  MpscProducer(std::span<std::uint8_t> memory, std::uint64_t capacity) noexcept
      : MpscRing(memory, capacity) {}

  struct Claim {
    std::uint8_t* room = nullptr;
    std::uint64_t granule = 0;
    std::uint64_t bytes = 0;
  };
  /// ok, full, closed or too_large. Write `bytes` to room, then commit().
  [[nodiscard]] Status try_claim(std::size_t bytes, Claim* claim) noexcept {
    if (bytes > max_record(granules_ * kGranule)) return Status::too_large;
    std::uint64_t const need = granules_of(bytes);
    std::uint64_t tail = header_->tail.load(order::acquire("P4"));
    std::uint64_t start = 0;
    std::uint64_t padding = 0;
    for (;;) {
      if ((tail & ring::kClosed) != 0) return Status::closed;
      start = tail >> 1;
      std::uint64_t const to_end = granules_ - index(start);
      padding = need > to_end ? to_end : 0;
      std::uint64_t const end = start + padding + need;
      if (!has_room(end)) {
        // Head and tail were read one after the other: if others claimed and were consumed between,
        // they do not belong together.
        std::uint64_t const again = header_->tail.load(order::acquire("P4"));
        if (again == tail) return Status::full;
        tail = again;
      } else if (header_->tail.compare_exchange_weak(tail, end << 1, order::release("P4"),
                                                     order::acquire("P4"))) {
        break;
      }
    }
    fail_point("mpsc.claim.after");
    if (padding != 0) {
      // No bytes behind it to publish.
      entries_[index(start)].store(stamp(start) | kPadding, order::relaxed);
      start += padding;
    }
    *claim = {at(start), start, bytes};
    return Status::ok;
  }
  void commit(const Claim& claim) noexcept {
    fail_point("mpsc.commit.before");
    entries_[index(claim.granule)].store(stamp(claim.granule) | claim.bytes, order::release("P1"));
  }
  [[nodiscard]] Status try_send(std::span<const std::uint8_t> record) noexcept {
    Claim claim;
    if (const Status status = try_claim(record.size(), &claim); status != Status::ok) return status;
    copy_in(claim.room, record.data(), record.size());
    commit(claim);
    return Status::ok;
  }
  /// After commit(): wakes the consumer if it sleeps. Costs a fence.
  void wake_consumer() noexcept { header_->data.notify(); }
  /// No claim succeeds afterwards; "no further claim" and "here the stream ends" are one word.
  void close() noexcept {
    header_->closing.store(1, order::relaxed);  // A hint; the fence of the wake-up orders it.
    header_->tail.fetch_or(ring::kClosed, order::relaxed);
    wake_consumer();
  }
  [[nodiscard]] Gate& space() noexcept { return header_->space; }

 private:
  /// Whether granules up to `end` are free to write.
  [[nodiscard]] bool has_room(std::uint64_t end) noexcept {
    if (end - header_->head_seen.load(order::acquire("P3")) <= granules_) return true;
    std::uint64_t const head = header_->head.load(order::acquire("P2"));
    header_->head_seen.store(head, order::release("P3"));
    return end - head <= granules_;
  }
};

class MpscConsumer : public MpscRing {
 public:
  MpscConsumer(std::span<std::uint8_t> memory, std::uint64_t capacity) noexcept
      : MpscRing(memory, capacity),
        head_(header_->head.load(order::relaxed)),  // Only consumers write it.
        released_(head_) {}

  /// The oldest record, in place, valid until consume(): ok, empty, closed (and drained) or
  /// corrupt.
  [[nodiscard]] Status peek(std::span<const std::uint8_t>* record) noexcept {
    for (;;) {
      std::uint64_t const entry = entries_[index(head_)].load(order::acquire("P1"));
      if ((entry & ~kLengthMask) != stamp(head_)) {
        release();
        if (header_->closing.load(order::relaxed) == 0) return Status::empty;
        // The end only if nothing is claimed beyond us: an open claim is still to be committed.
        return header_->tail.load(order::relaxed) == (head_ << 1 | ring::kClosed) ? Status::closed
                                                                                  : Status::empty;
      }
      std::uint64_t const bytes = entry & kLengthMask;
      std::uint64_t const to_end = granules_ - index(head_);
      if (bytes != kPadding) {
        step_ = granules_of(bytes);
        if (step_ > to_end) return Status::corrupt;
        *record = {at(head_), bytes};
        return Status::ok;
      }
      // Half the ring fits from its start: nobody pads there, and nobody keeps us in this loop.
      if (to_end == granules_) return Status::corrupt;
      head_ += to_end;
    }
  }
  /// Gives up the peeked record; producers get room back an eighth of the ring at a time, when the
  /// ring is found empty, or by release().
  void consume() noexcept {
    head_ += step_;
    if (head_ - released_ >= granules_ / 8) release();
  }
  /// Gives all consumed room back now, and wakes producers that sleep. Costs a fence.
  void release() noexcept {
    if (head_ == released_) return;
    header_->head.store(head_, order::release("P2"));
    released_ = head_;
    header_->space.notify();
  }
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
  std::uint64_t head_;
  std::uint64_t released_;
  std::uint64_t step_ = 0;
};

}  // namespace penstock
