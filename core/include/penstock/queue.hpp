// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/message.hpp"
#include "penstock/shim.hpp"
#include "penstock/status.hpp"

namespace penstock {

/// Unbounded queue of messages: a chain of 64 KiB slabs of records, recycled through a process-wide
/// free list.
///
///   claim_ ──► tail slab + offset │ closed         slab: │word│payload│word│payload│ … │END→next│
///   head_  ──► oldest slab + offset                          ▲ 0 = not yet committed
///
/// A producer claims room by one compare-and-swap of {slab, offset, closed}, writes its record, and
/// commits it by storing the record's word. A full slab ends with an END word, written by the
/// producer that moved the claim to the next slab. Only the consumer frees slabs, and only when it
/// has passed their END: no producer can still point into them, because a successful claim proves
/// that its slab is the tail. So there is no reclamation scheme, and a stale claim word that
/// compares equal after a slab's return is simply current.
///
/// Threads: push any; pop one at a time (Channel's try-lock); close any.
/// Cost: push O(1), lock-free; pop O(1), wait-free; zeroing a drained slab costs its consumer about
/// 2 us per 64 KiB. Memory falls back to one slab when the backlog is gone.
/// Errors: out_of_memory leaves everything as it was.
///
/// Edges:
///   Q1  push commits the word, release -> pop loads it, acquire: the record's bytes are there.
///   Q2  push claims, acq_rel -> the next push claims, acquire: a slab taken from the free list by
///       one producer is zeroed for all that claim in it.
///   Q3  push writes END, release -> pop loads it, acquire: the next slab is known and zeroed.
///   Q4  pop returns a zeroed slab to the free list, release -> push takes it, acquire.
///   Q5  close sets the claim word's bit, release -> pop and push load it, acquire. Being one bit
///   of
///       the claim word, "no further claim" and "here the stream ends" are one atomic fact.
class Queue {
 public:
  Queue() noexcept = default;
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  /// Drops what is left, references included. No other thread may be inside.
  ~Queue();

  /// Gets the first slab. Call once, before anything else.
  [[nodiscard]] Status init() noexcept;

  /// ok and `message` is empty; closed or out_of_memory and it is unchanged.
  [[nodiscard]] Status push(Message& message) noexcept;
  /// ok and `message`, which must be empty, holds the oldest record; empty, closed and drained, or
  /// out_of_memory and the record stays.
  [[nodiscard]] Status pop(Message& message) noexcept;

  /// Whether pop would find a record. Touches no line that producers write before they commit.
  /// Consumer only.
  [[nodiscard]] bool has_record() const noexcept;

  /// Whether nothing that was pushed before is left, or is still being pushed. Consumer only.
  [[nodiscard]] bool is_empty() const noexcept;

  void close() noexcept;
  [[nodiscard]] bool is_closed() const noexcept {
    return (claim_.load(order::acquire("Q5")) & kClosed) != 0;
  }

 private:
  static constexpr std::uint64_t kClosed = 1;

  [[nodiscard]] Status take_record(std::uint64_t word, Message& message) noexcept;
  void drop_record(std::uint64_t word) noexcept;
  void go_to_next_slab(std::uint64_t end_word) noexcept;

  // Producers' line: slab address | offset / 8 << 1 | closed.
  alignas(128) Atomic<std::uint64_t> claim_{0};

  // Consumer's line.
  alignas(128) std::uint8_t* head_slab_ = nullptr;
  std::uint32_t head_offset_ = 0;
  // Not 0 from just before claim_ says closed: a pop that finds nothing leaves that line alone.
  Atomic<std::uint32_t> closing_{0};
};

}  // namespace penstock
