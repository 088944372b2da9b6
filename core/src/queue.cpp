// SPDX-License-Identifier: Apache-2.0
#include "penstock/queue.hpp"

#include <cassert>

#include "penstock/memory.hpp"
#include "penstock/slab.hpp"
#include "penstock/wire.hpp"

/// A record is a word and a payload, both 8-byte aligned:
///
///   word     63                 8 7      4 3 2 1 0
///            │ payload bytes used │ unused │w│o│kind│     kind 0: not committed
///   kInside  payload: [u64 pinned, if w] wire bytes
///   kBlock   payload: u8* block, u64 bytes, u64 pinned
///   kEnd     no payload; the word is the next slab's address | kEnd
///
///   o: owns references (Message::adopt_objects), w: has the `pinned` field.
namespace penstock {

namespace {

constexpr std::uint64_t kKindMask = 3;
constexpr std::uint64_t kInsideRecord = 1;
constexpr std::uint64_t kEnd = 2;
constexpr std::uint64_t kBlockRecord = 3;
constexpr std::uint64_t kOwnsObjects = 4;
constexpr std::uint64_t kHasPinned = 8;

constexpr std::uint64_t kOffsetMask = slab::kAlignment - 1;
constexpr std::uint64_t kWordBytes = 8;
/// Longer messages go by pointer: a receiver then holds the consumer role for a few copies only.
constexpr std::uint64_t kMaxInside = slab::kBytes >= 65536 ? 8192 : 24;

struct Block {
  std::uint8_t* data;
  std::uint64_t bytes;
  std::uint64_t pinned;
};

Atomic<std::uint64_t>& word_at(std::uint8_t* slab, std::uint64_t offset) {
  return *reinterpret_cast<Atomic<std::uint64_t>*>(slab + offset);
}

std::uint8_t* slab_of(std::uint64_t word) {
  return reinterpret_cast<std::uint8_t*>(word & ~kOffsetMask);
}
std::uint64_t address_of(const std::uint8_t* slab) { return reinterpret_cast<std::uint64_t>(slab); }
std::uint64_t offset_of(std::uint64_t claim) {
  return (claim & kOffsetMask & ~std::uint64_t{1}) << 2;
}
constexpr std::uint64_t as_claim_offset(std::uint64_t offset) { return offset >> 2; }
constexpr std::uint64_t aligned(std::uint64_t bytes) { return (bytes + 7) & ~std::uint64_t{7}; }

std::uint64_t payload_bytes(std::uint64_t word) { return word >> 8; }

}  // namespace

Status Queue::init() noexcept {
  head_slab_ = slab::take();
  if (head_slab_ == nullptr) return Status::out_of_memory;
  claim_.store(address_of(head_slab_), order::relaxed);  // Nobody else knows this queue yet.
  return Status::ok;
}

Queue::~Queue() {
  if (head_slab_ == nullptr) return;
  for (;;) {
    std::uint64_t const word = word_at(head_slab_, head_offset_).load(order::relaxed);
    if (word == 0) break;  // O1 ordered whatever the other threads did.
    if ((word & kKindMask) == kEnd) {
      go_to_next_slab(word);
    } else {
      drop_record(word);
    }
  }
  zero(head_slab_, head_offset_);
  slab::give(head_slab_);
}

void Queue::drop_record(std::uint64_t word) noexcept {
  std::uint8_t* from = head_slab_ + head_offset_ + kWordBytes;
  if ((word & kKindMask) == kBlockRecord) {
    Block block;
    copy_out(&block, from, sizeof block);
    if ((word & kOwnsObjects) != 0) wire::release_objects({block.data, block.bytes});
    memory::free(block.data);
  } else if ((word & kOwnsObjects) != 0) {
    std::uint64_t const skip = (word & kHasPinned) != 0 ? sizeof(Block::pinned) : 0;
    wire::release_objects({from + skip, payload_bytes(word) - skip});
  }
  head_offset_ += static_cast<std::uint32_t>(kWordBytes + aligned(payload_bytes(word)));
}

Status Queue::push(Message& message) noexcept {
  const bool by_pointer = message.size_ > kMaxInside;
  assert(!by_pointer || message.data_ != message.inside_);
  const bool pins = message.pinned_ != 0 && !by_pointer;
  std::uint64_t const payload =
      by_pointer ? sizeof(Block) : message.size_ + (pins ? sizeof message.pinned_ : 0);
  std::uint64_t const need = kWordBytes + aligned(payload);

  std::uint8_t* spare = nullptr;
  std::uint64_t claim = claim_.load(order::acquire("Q2"));
  for (;;) {
    if ((claim & kClosed) != 0) {
      if (spare != nullptr) slab::give(spare);
      return Status::closed;
    }
    // A slab always keeps room for its END.
    if (offset_of(claim) + need + kWordBytes <= slab::kBytes) {
      if (claim_.compare_exchange_weak(claim, claim + as_claim_offset(need), order::acq_rel("Q2"),
                                       order::acquire("Q2"))) {
        break;
      }
      continue;
    }
    if (spare == nullptr && (spare = slab::take()) == nullptr) return Status::out_of_memory;
    if (claim_.compare_exchange_weak(claim, address_of(spare) + as_claim_offset(need),
                                     order::acq_rel("Q2"), order::acquire("Q2"))) {
      fail_point("queue.end.before");
      word_at(slab_of(claim), offset_of(claim))
          .store(address_of(spare) | kEnd, order::release("Q3"));
      claim = address_of(spare);
      spare = nullptr;
      break;
    }
  }
  if (spare != nullptr) slab::give(spare);  // Another producer moved the claim on first.
  fail_point("queue.claim.after");

  std::uint8_t* const record = slab_of(claim) + offset_of(claim);
  std::uint8_t* to = record + kWordBytes;
  if (by_pointer) {
    const Block block{message.data_, message.size_, message.pinned_};
    copy_in(to, &block, sizeof block);
  } else {
    if (pins) {
      copy_in(to, &message.pinned_, sizeof message.pinned_);
      to += sizeof message.pinned_;
    }
    copy_in(to, message.data_, message.size_);
  }
  fail_point("queue.commit.before");
  word_at(slab_of(claim), offset_of(claim))
      .store(payload << 8 | (message.owns_objects_ ? kOwnsObjects : 0) | (pins ? kHasPinned : 0) |
                 (by_pointer ? kBlockRecord : kInsideRecord),
             order::release("Q1"));
  if (!by_pointer && message.data_ != message.inside_) memory::free(message.data_);
  message.disown();
  return Status::ok;
}

Status Queue::pop(Message& message) noexcept {
  for (;;) {
    std::uint64_t const word = word_at(head_slab_, head_offset_).load(order::acquire("Q1"));
    if (word == 0) {
      if (closing_.load(order::relaxed) == 0) return Status::empty;
      // The end only if nobody claimed beyond us: an open claim is still to be committed.
      std::uint64_t const claim = claim_.load(order::acquire("Q5"));
      std::uint64_t const here = address_of(head_slab_) + as_claim_offset(head_offset_);
      return claim == (here | kClosed) ? Status::closed : Status::empty;
    }
    if ((word & kKindMask) != kEnd) return take_record(word, message);
    go_to_next_slab(word);
  }
}

bool Queue::has_record() const noexcept {
  return word_at(head_slab_, head_offset_).load(order::relaxed) != 0;  // A hint; pop looks again.
}

bool Queue::is_empty() const noexcept {
  // What the caller knows to have been pushed has moved the claim.
  std::uint64_t const claim = claim_.load(order::relaxed) & ~kClosed;
  return claim == (address_of(head_slab_) | as_claim_offset(head_offset_));
}

Status Queue::take_record(std::uint64_t word, Message& message) noexcept {
  assert(message.size_ == 0);
  std::uint64_t payload = payload_bytes(word);
  std::uint8_t* from = head_slab_ + head_offset_ + kWordBytes;
  if ((word & kKindMask) == kBlockRecord) {
    Block block;
    copy_out(&block, from, sizeof block);
    if (message.data_ != message.inside_) memory::free(message.data_);
    message.data_ = block.data;
    message.size_ = message.capacity_ = block.bytes;
    message.pinned_ = block.pinned;
  } else {
    std::uint64_t pinned = 0;
    std::uint64_t size = payload;
    if ((word & kHasPinned) != 0) {
      copy_out(&pinned, from, sizeof pinned);
      from += sizeof pinned;
      size -= sizeof pinned;
    }
    std::uint8_t* const room = message.extend(size);
    if (room == nullptr) return Status::out_of_memory;
    copy_out(room, from, size);
    message.pinned_ = pinned;
  }
  message.owns_objects_ = (word & kOwnsObjects) != 0;
  message.is_local_ = true;  // It may be.
  head_offset_ += static_cast<std::uint32_t>(kWordBytes + aligned(payload));
  return Status::ok;
}

void Queue::go_to_next_slab(std::uint64_t end_word) noexcept {
  std::uint8_t* const drained = head_slab_;
  // Also the stale payload: a later record's word may come to lie on it, and must read as open.
  zero(drained, head_offset_ + kWordBytes);
  head_slab_ = slab_of(end_word);
  head_offset_ = 0;
  slab::give(drained);
}

void Queue::close() noexcept {
  closing_.store(1, order::relaxed);  // Whoever knows of the bit knows of this.
  claim_.fetch_or(kClosed, order::release("Q5"));
}

}  // namespace penstock
