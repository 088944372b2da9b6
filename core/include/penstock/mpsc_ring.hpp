// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>

#include "penstock/ring_layout.hpp"
#include "penstock/status.hpp"

namespace penstock {

/// Byte ring with several producers and one consumer, in memory that processes may share, and that
/// survives the death of any producer at any instruction.
///
/// Records start on 64-byte granules. A producer claims granules by compare-and-swap of `tail`,
/// writes, and commits by storing the entry of the first granule. An entry stamped with an earlier
/// lap is stale, so nothing is ever cleared, and payload can never be taken for control. `tail`
/// also says who made the last claim and how long it is: whoever claims next first sees to it that
/// the entry of that claim says so, too. Thus from any position the way to the end is known, and
/// what a dead producer has claimed and not committed can be skipped (abort_claims_of).
///
///   tail    63            20 19     9 8     1  0
///           │ granules      │ length │ owner │closed│    the end of the last claim, and what it is
///   entry   63        27 26   25 24   17 16        0
///           │ lap       │ state │ owner │ size      │
///                         0 nothing yet (fresh, zeroed memory)
///                         1 claimed    size: granules, padding included
///                         2 committed  size: bytes of the record
///                         3 aborted    size: granules
///
/// A record that does not fit before the end of the ring lies at its start, and its claim begins
/// with what is left before the end. One of more than 64 KiB begins with its length in 8 bytes, and
/// is as long as so many blocks of 64 KiB; its claim ends where the next block does. So each length
/// fits its field, which beyond kShort counts blocks.
///
/// Threads: any number of producers, each with an MpscProducer of its own; one MpscConsumer.
/// Cost: O(1), allocates nothing, makes no system call; a claim is lock-free. A producer that stops
/// between claim and commit delays the records behind its own, nothing else.
/// Units: capacity is a power of two from 256 bytes; the longest record is half of it, less 8 bytes
/// beyond 64 KiB, and kMaxRecord.
/// Positions count granules in 44 bits and come round after 62 hours at 5 GB/s, which matters to a
/// producer that stops within a claim for exactly as long. Laps of 37 bits come round as well, but
/// only an entry that was not written for 2^37 laps could tell.
/// Errors: impossible values from a peer yield Status::corrupt.
///
/// Edges:
///   P1  commit stores the entry, release -> peek loads it, acquire: the record's bytes are there.
///   P2  release stores head, release -> a producer loads it, acquire: the room is free to reuse.
///   P3  a producer stores head_seen, release -> another loads it, acquire: P2 for those that did
///       not look at head themselves.
///   P4  a claim moves tail, release -> another producer loads it, acquire, and then head: it sees
///       no older head than that claim did, and so never refuses what fits. And -> who skips the
///       claims of the dead: the entries of all claims before the last one are there.
class MpscRing {
 public:
  static constexpr std::uint64_t kGranule = 64;
  static constexpr std::uint64_t kLeastCapacity = 256;
  static constexpr std::uint64_t kMaxRecord = std::uint64_t{31} << 20;
  /// Who makes a claim: 1 to 255. Each process that may die alone is one, and so may be each thread
  /// of one that shall.
  using Owner = std::uint8_t;

  [[nodiscard]] static constexpr std::size_t bytes_for(std::uint64_t capacity) {
    return sizeof(RingHeader) + capacity / kGranule * sizeof(std::uint64_t) + capacity;
  }
  [[nodiscard]] static constexpr std::uint64_t max_record(std::uint64_t capacity) {
    std::uint64_t const half = std::min(capacity / 2, kMaxRecord);
    return half > kShortRecord ? half - sizeof(std::uint64_t) : half;
  }
  /// `memory` is zeroed. `granule`: where positions start, for tests.
  static void format(std::span<std::uint8_t> memory, std::uint64_t capacity,
                     std::uint64_t granule = 0) noexcept {
    std::uint64_t const start = granule & kPositions;
    ring::format(memory, RingKind::mpsc, capacity, start << kTailPosition, start);
  }
  [[nodiscard]] static bool attach(std::span<std::uint8_t> memory,
                                   std::uint64_t capacity) noexcept {
    return ring::check(memory, RingKind::mpsc, capacity, kLeastCapacity, bytes_for(capacity)) !=
           nullptr;
  }

 protected:
  enum State : std::uint64_t { kNothing, kClaimed, kCommitted, kAborted };

  MpscRing(std::span<std::uint8_t> memory, std::uint64_t capacity) noexcept
      : header_(reinterpret_cast<RingHeader*>(memory.data())),
        entries_(reinterpret_cast<Atomic<std::uint64_t>*>(memory.data() + sizeof(RingHeader))),
        granules_(capacity / kGranule),
        shift_(static_cast<unsigned>(std::countr_zero(granules_))),
        records_(memory.data() + sizeof(RingHeader) + granules_ * sizeof(std::uint64_t)) {}

  // Positions

  static constexpr std::uint64_t kPositions = (std::uint64_t{1} << 44) - 1;
  [[nodiscard]] static constexpr std::uint64_t after(std::uint64_t position,
                                                     std::uint64_t granules) {
    return (position + granules) & kPositions;
  }
  [[nodiscard]] static constexpr std::uint64_t distance(std::uint64_t from, std::uint64_t to) {
    return (to - from) & kPositions;
  }
  /// Up to here a record is nothing but its bytes.
  static constexpr std::uint64_t kShortRecord = std::uint64_t{64} * 1024;
  static constexpr std::uint64_t kBlock = kShortRecord / kGranule;  ///< Granules.
  [[nodiscard]] static constexpr std::uint64_t granules_of(std::uint64_t bytes) {
    if (bytes <= kShortRecord) return bytes == 0 ? 1 : (bytes + kGranule - 1) / kGranule;
    return whole_blocks((bytes + sizeof bytes + kGranule - 1) / kGranule);
  }
  /// How an entry says how long its record is, and what that takes.
  [[nodiscard]] static constexpr std::uint64_t size_field(std::uint64_t bytes) {
    return bytes <= kShortRecord ? bytes : kShortRecord + granules_of(bytes) / kBlock;
  }
  [[nodiscard]] static constexpr std::uint64_t granules_in(std::uint64_t field) {
    return field <= kShortRecord ? granules_of(field) : (field - kShortRecord) * kBlock;
  }
  [[nodiscard]] static constexpr std::uint64_t whole_blocks(std::uint64_t granules) {
    return (granules + kBlock - 1) / kBlock * kBlock;
  }
  /// What is claimed for so many granules.
  [[nodiscard]] static constexpr std::uint64_t claimed(std::uint64_t granules) {
    return granules < kBlock ? granules : whole_blocks(granules);
  }
  [[nodiscard]] std::uint64_t index(std::uint64_t position) const noexcept {
    return position & (granules_ - 1);
  }
  /// What lies unused before a record of `bytes` that is claimed at `position`.
  [[nodiscard]] std::uint64_t padding(std::uint64_t position,
                                      std::uint64_t granules) const noexcept {
    std::uint64_t const to_end = granules_ - index(position);
    return granules > to_end ? to_end : 0;
  }
  [[nodiscard]] std::uint8_t* at(std::uint64_t position) const noexcept {
    return records_ + index(position) * kGranule;
  }

  // The words

  static constexpr unsigned kTailOwner = 1, kTailLength = 9, kTailPosition = 20;
  static constexpr std::uint64_t kTailLengths = (std::uint64_t{1} << 11) - 1;
  static constexpr unsigned kEntryOwner = 17, kEntryState = 25, kEntryLap = 27;
  static constexpr std::uint64_t kEntrySizes = (std::uint64_t{1} << kEntryOwner) - 1;
  static constexpr std::uint64_t kLaps = (std::uint64_t{1} << (64 - kEntryLap)) - 1;
  /// A field for lengths, whose upper half counts blocks.
  template <std::uint64_t Field>
  struct Lengths {
    static constexpr std::uint64_t kShort = Field / 2;  ///< The last that counts itself.
    static constexpr std::uint64_t kLongest = kShort * kBlock;
    [[nodiscard]] static constexpr std::uint64_t encode(std::uint64_t granules) {
      return granules <= kShort ? granules : kShort + granules / kBlock;
    }
    [[nodiscard]] static constexpr std::uint64_t decode(std::uint64_t field) {
      return field <= kShort ? field : (field - kShort) * kBlock;
    }
  };
  using TailLengths = Lengths<kTailLengths>;
  using EntryLengths = Lengths<kEntrySizes>;
  static_assert(kBlock - 1 <= TailLengths::kShort);
  static_assert(2 * (kMaxRecord / kGranule) + kBlock <= TailLengths::kLongest);

  struct LastClaim {
    std::uint64_t end;
    std::uint64_t length;
    Owner owner;
  };
  [[nodiscard]] static constexpr LastClaim last_claim(std::uint64_t tail) {
    return {tail >> kTailPosition, TailLengths::decode(tail >> kTailLength & kTailLengths),
            static_cast<Owner>(tail >> kTailOwner)};
  }
  [[nodiscard]] static constexpr std::uint64_t tail_word(const LastClaim& claim) {
    return claim.end << kTailPosition | TailLengths::encode(claim.length) << kTailLength |
           std::uint64_t{claim.owner} << kTailOwner;
  }
  [[nodiscard]] std::uint64_t entry_word(std::uint64_t position, State state, Owner owner,
                                         std::uint64_t size) const noexcept {
    return (position >> shift_) << kEntryLap | state << kEntryState |
           std::uint64_t{owner} << kEntryOwner | size;
  }
  [[nodiscard]] static constexpr State state_of(std::uint64_t entry) {
    return static_cast<State>(entry >> kEntryState & 3);
  }
  [[nodiscard]] static constexpr Owner owner_of(std::uint64_t entry) {
    return static_cast<Owner>(entry >> kEntryOwner);
  }
  [[nodiscard]] static constexpr std::uint64_t size_of(std::uint64_t entry) {
    return entry & kEntrySizes;
  }
  /// Laps from the entry's to that of `position`; 0: it is of this one.
  [[nodiscard]] std::uint64_t age(std::uint64_t entry, std::uint64_t position) const noexcept {
    return ((position >> shift_) - (entry >> kEntryLap)) & kLaps;
  }
  [[nodiscard]] bool is_current(std::uint64_t entry, std::uint64_t position) const noexcept {
    return state_of(entry) != kNothing && age(entry, position) == 0;
  }

  /// Has the entry of the last claim say who made it, and how long it is. Relaxed: P4 passes it on,
  /// and an entry that was stored meanwhile is never replaced.
  void record(const LastClaim& claim) noexcept {
    if (claim.length == 0) return;  // Nothing has been claimed.
    std::uint64_t const start = after(claim.end, -claim.length);
    Atomic<std::uint64_t>& entry = entries_[index(start)];
    std::uint64_t seen = entry.load(order::relaxed);
    // One that is younger belongs to a claim that came after this one.
    std::uint64_t const laps = age(seen, start);
    if (state_of(seen) != kNothing && (laps == 0 || laps > kLaps / 2)) return;
    std::uint64_t const word =
        entry_word(start, kClaimed, claim.owner, EntryLengths::encode(claim.length));
    entry.compare_exchange_strong(seen, word, order::relaxed, order::relaxed);
  }

  RingHeader* header_;
  Atomic<std::uint64_t>* entries_;
  std::uint64_t granules_;  // Our own copy: the shared capacity is not trusted.
  unsigned shift_;
  std::uint8_t* records_;
};

class MpscProducer : public MpscRing {
 public:
  MpscProducer(std::span<std::uint8_t> memory, std::uint64_t capacity, Owner owner = 1) noexcept
      : MpscRing(memory, capacity), owner_(owner) {}

  struct Claim {
    std::uint8_t* room = nullptr;
    std::uint64_t position = 0;
    std::uint64_t bytes = 0;
  };
  /// ok, full, closed or too_large. Write `bytes` to room, then commit().
  [[nodiscard]] Status try_claim(std::size_t bytes, Claim* claim) noexcept {
    if (bytes > max_record(granules_ * kGranule)) return Status::too_large;
    std::uint64_t const granules = granules_of(bytes);
    std::uint64_t tail = header_->tail.load(order::acquire("P4"));
    std::uint64_t start = 0;
    for (;;) {
      if ((tail & ring::kClosed) != 0) return Status::closed;
      const LastClaim last = last_claim(tail);
      start = last.end;
      std::uint64_t const length = claimed(padding(start, granules) + granules);
      std::uint64_t const end = after(start, length);
      if (!has_room(end)) {
        // Head and tail were read one after the other: if others claimed and were consumed between,
        // they do not belong together.
        std::uint64_t const again = header_->tail.load(order::acquire("P4"));
        if (again == tail) return Status::full;
        tail = again;
        continue;
      }
      record(last);
      fail_point("mpsc.claim.before");
      if (header_->tail.compare_exchange_weak(tail, tail_word({end, length, owner_}),
                                              order::release("P4"), order::acquire("P4"))) {
        break;
      }
    }
    fail_point("mpsc.claim.after");
    *claim = {at(after(start, padding(start, granules))), start, bytes};
    if (bytes > kShortRecord) {
      std::uint64_t const length = bytes;
      copy_in(claim->room, &length, sizeof length);
      claim->room += sizeof length;
    }
    return Status::ok;
  }
  void commit(const Claim& claim) noexcept {
    fail_point("mpsc.commit.before");
    entries_[index(claim.position)].store(
        entry_word(claim.position, kCommitted, owner_, size_field(claim.bytes)),
        order::release("P1"));
    fail_point("mpsc.commit.after");
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
    if (distance(header_->head_seen.load(order::acquire("P3")), end) <= granules_) return true;
    std::uint64_t const head = header_->head.load(order::acquire("P2"));
    header_->head_seen.store(head, order::release("P3"));
    return distance(head, end) <= granules_;
  }

  const Owner owner_;
};

class MpscConsumer : public MpscRing {
 public:
  MpscConsumer(std::span<std::uint8_t> memory, std::uint64_t capacity) noexcept
      : MpscRing(memory, capacity),
        head_(header_->head.load(order::relaxed) & kPositions),  // Only consumers write it.
        released_(head_) {}

  /// Begins at `position`, and gives no room back: what lies before is still being read.
  MpscConsumer(std::span<std::uint8_t> memory, std::uint64_t capacity,
               std::uint64_t position) noexcept
      : MpscRing(memory, capacity),
        head_(position & kPositions),
        released_(head_),
        is_ahead_(true) {}

  /// The oldest record, in place, valid until consume(): ok, empty, closed (and drained) or
  /// corrupt.
  [[nodiscard]] Status peek(std::span<const std::uint8_t>* record) noexcept {
    std::uint64_t skipped = 0;
    for (;;) {
      std::uint64_t const entry = entries_[index(head_)].load(order::acquire("P1"));
      if (!is_current(entry, head_) || state_of(entry) == kClaimed) {
        release();
        if (header_->closing.load(order::relaxed) == 0) return Status::empty;
        // The end only if nothing is claimed beyond us: an open claim is still to be committed.
        std::uint64_t const tail = header_->tail.load(order::relaxed);
        return (tail & ring::kClosed) != 0 && last_claim(tail).end == head_ ? Status::closed
                                                                            : Status::empty;
      }
      step_ = length_of(entry, head_);
      // Nobody keeps us in this loop for longer than the ring.
      if (step_ == 0 || (skipped += step_) > granules_) return Status::corrupt;
      if (state_of(entry) == kCommitted) return find(entry, record);
      consume();
    }
  }
  /// Gives up the peeked record; producers get room back an eighth of the ring at a time, when the
  /// ring is found empty, or by release().
  void consume() noexcept {
    head_ = after(head_, step_);
    if (distance(released_, head_) >= granules_ / 8) release();
  }
  /// Gives all consumed room back now, and wakes producers that sleep. Costs a fence.
  void release() noexcept {
    if (head_ != released_ && !is_ahead_) release_to(head_);
  }
  /// The same for what lies before `position`, which consume() has passed.
  void release_to(std::uint64_t position) noexcept {
    give_back_to(position);
    header_->space.notify();
  }
  /// The same without waking anybody, for who has other means: no fence.
  void give_back_to(std::uint64_t position) noexcept {
    header_->head.store(position, order::release("P2"));
    released_ = position;
  }
  /// From now on it gives no room back by itself: the record that was peeked is still to be read.
  void keep() noexcept { is_ahead_ = true; }
  /// Of the next record, or of the one that was peeked.
  [[nodiscard]] std::uint64_t position() const noexcept { return head_; }
  /// Bytes from the next record to `position`, which is not before it.
  [[nodiscard]] std::uint64_t bytes_to(std::uint64_t position) const noexcept {
    return distance(head_, position) * kGranule;
  }
  /// Bytes from the one that producers hold for the oldest to the end of the one that was peeked.
  [[nodiscard]] std::uint64_t span_with_peeked() const noexcept {
    std::uint64_t const head = header_->head.load(order::relaxed) & kPositions;
    return distance(head, after(head_, step_)) * kGranule;
  }
  /// Whether `first` comes before `second`, of two that are not yet released.
  [[nodiscard]] bool is_before(std::uint64_t first, std::uint64_t second) const noexcept {
    std::uint64_t const head = header_->head.load(order::relaxed) & kPositions;
    return distance(head, first) < distance(head, second);
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

  /// Whether peek() would find something, seen without it: a hint for others than the consumer.
  [[nodiscard]] bool has_record() const noexcept {
    std::uint64_t const entry = entries_[index(head_)].load(order::relaxed);
    return is_current(entry, head_) && state_of(entry) != kClaimed;
  }
  /// How long the record that peek() would find is, rounded up; 0: it would find none. A hint, too.
  [[nodiscard]] std::uint64_t next_size() const noexcept {
    std::uint64_t const entry = entries_[index(head_)].load(order::relaxed);
    const bool is_there = is_current(entry, head_) && state_of(entry) == kCommitted;
    return is_there ? granules_in(size_of(entry)) * kGranule : 0;
  }
  /// Bytes that are claimed and not consumed, in whole granules. A hint.
  [[nodiscard]] std::uint64_t used() const noexcept {
    std::uint64_t const head = header_->head.load(order::relaxed) & kPositions;
    std::uint64_t const end = last_claim(header_->tail.load(order::relaxed)).end;
    return std::min(distance(head, end), granules_) * kGranule;
  }
  [[nodiscard]] bool is_closed() const noexcept {
    return (header_->tail.load(order::relaxed) & ring::kClosed) != 0;
  }

  /// Whose claim the consumer waits for: 0: nothing is claimed that is not committed. A hint, for
  /// who wants to know whether that one still lives.
  [[nodiscard]] Owner waits_for() const noexcept {
    const LastClaim last = last_claim(header_->tail.load(order::acquire("P4")));
    if (last.end == head_) return 0;
    std::uint64_t const entry = entries_[index(head_)].load(order::relaxed);
    if (!is_current(entry, head_)) return last.owner;  // Not recorded: then it is the last.
    return state_of(entry) == kClaimed ? owner_of(entry) : Owner{0};
  }
  /// Skips what `owner` has claimed and not committed: nothing that is committed is lost, and
  /// nobody waits for it any more. Others may go on to claim meanwhile. Only once it is proved that
  /// no thread of `owner` runs any more, never after a timeout: it would write where others do. And
  /// before anybody else gets its number. ok or corrupt. Bounded by the capacity.
  [[nodiscard]] Status abort_claims_of(Owner owner) noexcept {
    const LastClaim last = last_claim(header_->tail.load(order::acquire("P4")));
    if (distance(head_, last.end) > granules_) return Status::corrupt;
    record(last);
    std::uint64_t length = 0;
    for (std::uint64_t position = head_; position != last.end; position = after(position, length)) {
      Atomic<std::uint64_t>& word = entries_[index(position)];
      std::uint64_t entry = word.load(order::relaxed);
      length = is_current(entry, position) ? length_of(entry, position) : 0;
      if (length == 0 || length > distance(position, last.end)) return Status::corrupt;
      if (state_of(entry) == kClaimed && owner_of(entry) == owner) {
        // Only its owner would change it.
        word.store(entry_word(position, kAborted, owner, EntryLengths::encode(length)),
                   order::relaxed);
      }
    }
    return Status::ok;
  }

 private:
  /// Granules of what begins at `position`; 0: no entry of ours is like that.
  [[nodiscard]] std::uint64_t length_of(std::uint64_t entry,
                                        std::uint64_t position) const noexcept {
    if (state_of(entry) != kCommitted) {
      std::uint64_t const length = EntryLengths::decode(size_of(entry));
      return length <= granules_ ? length : 0;
    }
    std::uint64_t const granules = granules_in(size_of(entry));
    if (granules > granules_ / 2) return 0;
    return claimed(padding(position, granules) + granules);
  }
  /// The record that is committed at head_: ok or corrupt.
  [[nodiscard]] Status find(std::uint64_t entry,
                            std::span<const std::uint8_t>* record) const noexcept {
    std::uint64_t const size = size_of(entry);
    std::uint64_t const granules = granules_in(size);
    const std::uint8_t* const start = at(after(head_, padding(head_, granules)));
    if (size <= kShortRecord) {
      *record = {start, size};
      return Status::ok;
    }
    std::uint64_t length = 0;
    copy_out(&length, start, sizeof length);
    if (length > granules * kGranule - sizeof length) return Status::corrupt;
    *record = {start + sizeof length, length};
    return Status::ok;
  }

  std::uint64_t head_;
  std::uint64_t released_;
  bool is_ahead_ = false;
  std::uint64_t step_ = 0;
};

}  // namespace penstock
