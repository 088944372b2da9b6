// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "arena.hpp"

namespace penstock::model {

inline constexpr unsigned kMaxThreads = 8;
using Clock = std::uint16_t;

enum class Access : std::uint8_t { read, write, atomic, free };

/// Finds data races: for each four bytes of the arena, the vector-clock time of the last plain
/// write, and for each thread those of its last plain read and its last atomic access. Two accesses
/// to the same four bytes race if one is a plain write, or a plain read and the other an atomic
/// access, and neither happened before the other. (Atomic loads beside plain reads are not told
/// apart from stores: nothing sane does that.)
///
/// Also finds accesses to freed blocks. A free is a write by whoever frees.
///
/// Limits: memory outside the arena (globals, constants) is not watched. Two threads that use
/// different bytes of the same four look like a race.
class Shadow {
 public:
  struct Cell {
    std::uint32_t generation;
    std::uint16_t location;  ///< The atomic that lives here: index + 1 in WeakMemory.
    Clock write_clock;
    std::uint8_t writer;
    std::uint8_t readers;  ///< Bit set of threads with a read_clock.
    std::uint8_t atomics;  ///< Likewise.
    bool freed;
    Clock read_clock[kMaxThreads];
    Clock atomic_clock[kMaxThreads];
  };

  explicit Shadow(Arena& arena);
  void reset() { ++generation_; }

  [[nodiscard]] Cell& cell(std::uintptr_t address) {
    Cell& cell = cells_[(address - arena_.base()) >> 2];
    if (cell.generation != generation_) start(cell, address);
    return cell;
  }

  /// An access of `thread`, which knows of the others what `known` says. nullptr, or what is wrong
  /// with it; then `other` is the thread it collides with.
  template <Access Kind>
  [[nodiscard]] const char* check(std::uintptr_t address, std::size_t bytes, unsigned thread,
                                  const Clock* known, unsigned* other);

 private:
  void start(Cell& cell, std::uintptr_t address);

  Arena& arena_;
  Cell* cells_;
  std::uint32_t generation_ = 0;
};

namespace detail {

inline bool unordered(std::uint8_t threads, const Clock* clocks, unsigned me, const Clock* known,
                      unsigned* other) {
  for (unsigned thread = 0; threads >> thread != 0; ++thread) {
    if ((threads >> thread & 1) != 0 && thread != me && clocks[thread] > known[thread]) {
      *other = thread;
      return true;
    }
  }
  return false;
}

}  // namespace detail

template <Access Kind>
const char* Shadow::check(std::uintptr_t address, std::size_t bytes, unsigned thread,
                          const Clock* known, unsigned* other) {
  if (bytes == 0) return nullptr;
  const auto mine = static_cast<std::uint8_t>(1U << thread);
  for (std::uintptr_t at = address & ~std::uintptr_t{3}; at < address + bytes; at += 4) {
    Cell& here = cell(at);
    *other = here.writer;
    if (here.freed) return Kind == Access::free ? "freed twice" : "used after free";
    if (here.writer != thread && here.write_clock > known[here.writer]) return "a plain write";
    if (Kind != Access::atomic && (here.atomics & ~mine) != 0 &&
        detail::unordered(here.atomics, here.atomic_clock, thread, known, other)) {
      return "an atomic access";
    }
    if (Kind != Access::read && (here.readers & ~mine) != 0 &&
        detail::unordered(here.readers, here.read_clock, thread, known, other)) {
      return "a plain read";
    }
    if constexpr (Kind == Access::read) {
      here.readers |= mine;
      here.read_clock[thread] = known[thread];
    } else if constexpr (Kind == Access::atomic) {
      here.atomics |= mine;
      here.atomic_clock[thread] = known[thread];
    } else {
      here.writer = static_cast<std::uint8_t>(thread);
      here.write_clock = known[thread];
      here.readers = here.atomics = 0;  // All ordered before this write.
      here.freed = Kind == Access::free;
    }
  }
  return nullptr;
}

}  // namespace penstock::model
