// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "penstock/memory.hpp"
#include "penstock/message.hpp"
#include "penstock/ref.hpp"
#include "penstock/ring_layout.hpp"
#include "penstock/shim.hpp"
#include "penstock/wire.hpp"

/// What the tests of core share: sizes by build, deadlines, records that check themselves, and
/// objects that count how often they are released.
namespace penstock::test {

#if defined(__SANITIZE_THREAD__)
inline constexpr std::uint64_t kShare = 12;
#elif defined(__SANITIZE_ADDRESS__)
inline constexpr std::uint64_t kShare = 4;
#else
inline constexpr std::uint64_t kShare = 1;
#endif
/// A count that a release build reaches in full, a sanitizer build in part.
constexpr std::uint64_t scaled(std::uint64_t full) { return full / kShare; }

/// For waits that never come to an end if the code is wrong.
inline std::int64_t deadline(std::int64_t seconds = 60) {
  return now_ns() + seconds * 1'000'000'000;
}

/// Turns a spin loop that waits for another thread into one that fails instead of hanging.
class Patience {
 public:
  /// False once 60 s have passed.
  [[nodiscard]] bool another_turn() {
    sched_yield();
    return (++turns_ & 1023) != 0 || now_ns() < until_;
  }

 private:
  std::int64_t const until_ = deadline();
  unsigned turns_ = 0;
};

/// Small, fast, and the same everywhere for one seed.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 2 + 1) {}
  std::uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ * 0x2545F4914F6CDD1DULL;
  }
  std::uint64_t below(std::uint64_t bound) { return (next() >> 16) % bound; }

 private:
  std::uint64_t state_;
};

/// A record of `bytes` (12 at least) that names its producer and number, and whose rest follows
/// from them: any byte lost, torn or doubled shows.
struct Stamp {
  std::uint32_t producer;
  std::uint64_t number;
};
inline constexpr std::size_t kStampBytes = 12;

inline std::uint8_t pattern_byte(const Stamp& stamp, std::size_t at) {
  std::uint64_t const mixed = (stamp.number + 1) * 0x9E3779B97F4A7C15ULL + stamp.producer * 977;
  return static_cast<std::uint8_t>((mixed >> (8 * (at % 8))) + at / 8);
}

inline void write_record(std::span<std::uint8_t> room, const Stamp& stamp) {
  std::memcpy(room.data(), &stamp.producer, 4);
  std::memcpy(room.data() + 4, &stamp.number, 8);
  for (std::size_t at = kStampBytes; at < room.size(); ++at) room[at] = pattern_byte(stamp, at);
}

/// False if any byte is not what write_record() wrote.
[[nodiscard]] inline bool read_record(std::span<const std::uint8_t> record, Stamp* stamp) {
  if (record.size() < kStampBytes) return false;
  std::memcpy(&stamp->producer, record.data(), 4);
  std::memcpy(&stamp->number, record.data() + 4, 8);
  for (std::size_t at = kStampBytes; at < record.size(); ++at) {
    if (record[at] != pattern_byte(*stamp, at)) return false;
  }
  return true;
}

/// Checks that every producer's numbers come without gap, in order.
class OrderCheck {
 public:
  explicit OrderCheck(std::size_t producers) : next_(producers, 0) {}
  [[nodiscard]] bool accept(std::span<const std::uint8_t> record) {
    Stamp stamp{};
    return read_record(record, &stamp) && stamp.producer < next_.size() &&
           stamp.number == next_[stamp.producer]++;
  }
  [[nodiscard]] std::uint64_t seen(std::size_t producer) const { return next_[producer]; }

 private:
  std::vector<std::uint64_t> next_;
};

/// Fills an empty message with one self-checking record. False: no memory.
[[nodiscard]] inline bool fill(Message& message, std::size_t bytes, const Stamp& stamp) {
  std::uint8_t* const room = message.extend(bytes);
  if (room == nullptr) return false;
  write_record({room, bytes}, stamp);
  return true;
}

/// An object whose end is counted, to be named by messages.
class Counted final : public wire::PinnedBytes {
 public:
  Counted(std::atomic<int>& live, std::span<const std::uint8_t> bytes)
      : PinnedBytes(bytes), live_(live) {
    live_.fetch_add(1);
  }

 private:
  ~Counted() override { live_.fetch_sub(1); }
  std::atomic<int>& live_;
};

/// Lets allocations of core fail from the `countdown`-th on, for a scope.
class FailingMemory {
 public:
  explicit FailingMemory(unsigned long countdown) { memory::fail_after(countdown); }
  ~FailingMemory() { memory::fail_after(0); }
  FailingMemory(const FailingMemory&) = delete;
  FailingMemory& operator=(const FailingMemory&) = delete;
};

/// Zeroed memory of exactly this size, so that AddressSanitizer sees the first byte outside.
class RingMemory {
 public:
  explicit RingMemory(std::size_t bytes) : bytes_(bytes) {
    if (posix_memalign(&memory_, kSharedLine, bytes) != 0) std::abort();
    std::memset(memory_, 0, bytes);
  }
  ~RingMemory() { std::free(memory_); }
  RingMemory(const RingMemory&) = delete;
  RingMemory& operator=(const RingMemory&) = delete;
  [[nodiscard]] std::span<std::uint8_t> span() const {
    return {static_cast<std::uint8_t*>(memory_), bytes_};
  }

 private:
  void* memory_ = nullptr;
  std::size_t bytes_;
};

/// This thread on one processor, for a scope.
class Pinned {
 public:
  explicit Pinned(int processor) {
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    sched_setaffinity(0, sizeof one, &one);
  }
  ~Pinned() { sched_setaffinity(0, sizeof before_, &before_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

 private:
  cpu_set_t before_{};
};

}  // namespace penstock::test
