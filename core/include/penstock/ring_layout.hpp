// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include "penstock/gate.hpp"
#include "penstock/shim.hpp"

/// The shared-memory format of the byte rings. Read and written by other processes, each mapping it
/// where it likes: fixed-width types, offsets, no pointers. Append only, never reorder.
///
///   offset  0   RingHeader
///         512   MPSC only: one 64-bit entry for each 64-byte granule
///           …   capacity bytes of records
namespace penstock {

/// Two 64-byte lines: the adjacent-line prefetcher couples them. A constant of ours, because the
/// value is part of the format and must not follow -mtune.
inline constexpr std::size_t kSharedLine = 128;

inline constexpr std::uint32_t kRingMagic = 0x6B636F74;  // "tock" in memory on x86-64.
inline constexpr std::uint32_t kRingVersion = 1;

enum class RingKind : std::uint32_t { spsc = 1, mpsc = 2 };

struct RingHeader {
  // Written once, before the ring is handed over.
  std::uint32_t magic;
  std::uint32_t version;
  RingKind kind;
  std::uint32_t reserved;
  std::uint64_t capacity;  ///< Bytes of record space; a power of two.

  // Producers' line. SPSC: bytes committed. MPSC: granules claimed << 1. Bit 0 of both: closed.
  alignas(kSharedLine) Atomic<std::uint64_t> tail;
  Atomic<std::uint64_t> head_seen;  ///< MPSC: some past head; the ring is at least as empty.

  // Consumer's line. SPSC: bytes consumed. MPSC: granules consumed.
  alignas(kSharedLine) Atomic<std::uint64_t> head;

  alignas(kSharedLine) Gate data;  ///< Where the consumer sleeps.
  Gate space;                      ///< Where producers sleep.
  /// MPSC: not 0 from just before `tail` says closed. Lets a consumer that finds nothing leave the
  /// producers' line alone.
  Atomic<std::uint32_t> closing;
};

static_assert(sizeof(Atomic<std::uint64_t>) == 8 && sizeof(Gate) == 4);
static_assert(sizeof(RingHeader) == 4 * kSharedLine);
static_assert(offsetof(RingHeader, tail) == 128 && offsetof(RingHeader, head) == 256);
static_assert(offsetof(RingHeader, kind) == 8 && offsetof(RingHeader, capacity) == 16);
static_assert(offsetof(RingHeader, head_seen) == 136 && offsetof(RingHeader, data) == 384);
static_assert(offsetof(RingHeader, space) == 388 && offsetof(RingHeader, closing) == 392);

namespace ring {

inline constexpr std::uint64_t kClosed = 1;

/// Starts an empty ring whose positions begin at `position` (tests begin next to 2^32 and 2^64).
inline RingHeader* format(std::span<std::uint8_t> memory, RingKind kind, std::uint64_t capacity,
                          std::uint64_t tail, std::uint64_t head) noexcept {
  auto* const header = new (memory.data()) RingHeader{};
  header->magic = kRingMagic;
  header->version = kRingVersion;
  header->kind = kind;
  header->capacity = capacity;
  header->tail.store(tail, order::relaxed);  // Handed over by other means.
  header->head.store(head, order::relaxed);
  header->head_seen.store(head, order::relaxed);
  return header;
}

/// Whether `memory` holds a ring that is safe to use. The capacity it names is to be read once,
/// here.
inline RingHeader* check(std::span<std::uint8_t> memory, RingKind kind, std::uint64_t capacity,
                         std::uint64_t least_capacity, std::size_t bytes_needed) noexcept {
  if (memory.size() < bytes_needed || !std::has_single_bit(capacity) || capacity < least_capacity) {
    return nullptr;
  }
  auto* const header = std::launder(reinterpret_cast<RingHeader*>(memory.data()));
  const bool ours = header->magic == kRingMagic && header->version == kRingVersion &&
                    header->kind == kind && header->capacity == capacity;
  return ours ? header : nullptr;
}

}  // namespace ring

}  // namespace penstock
