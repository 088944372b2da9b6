// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ref.hpp"

namespace penstock::python {

struct HandleObject;

/// The timers of a loop: those that are due first, and of equal ones those that were added first.
///
/// A timer that is cancelled stays, unless it is the last of the array, until it is due or more
/// than half of many are such: most timeouts are cancelled, and soon.
///
/// Threads: with the GIL. Cost: push and pop O(log n), cancellation O(1) amortised.
class TimerHeap {
 public:
  TimerHeap() = default;
  TimerHeap(const TimerHeap&) = delete;
  TimerHeap& operator=(const TimerHeap&) = delete;
  ~TimerHeap() { clear(); }

  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  /// Borrowed, in no order; `index` < size().
  [[nodiscard]] HandleObject* operator[](std::size_t index) const noexcept {
    return entries_[index].timer;
  }

  /// Borrows the timer. False: MemoryError is set.
  [[nodiscard]] bool push(HandleObject& timer);
  /// When the first one that is not cancelled is due. Not when empty after drop_cancelled().
  [[nodiscard]] double first() const noexcept { return entries_.front().when; }
  /// Drops those in front that were cancelled.
  void drop_cancelled();
  [[nodiscard]] PyRef pop() noexcept;
  /// One that is in here has been cancelled.
  void cancelled(HandleObject& timer);
  void clear();

 private:
  struct Entry {
    double when;  // Never NaN.
    std::uint64_t number;
    HandleObject* timer;
    [[nodiscard]] bool is_before(const Entry& other) const noexcept {
      return when < other.when || (when == other.when && number < other.number);
    }
  };

  void rise(std::size_t index) noexcept;
  void sink(std::size_t index) noexcept;
  void compact();

  std::vector<Entry> entries_;
  std::uint64_t next_number_ = 0;
  std::size_t cancelled_ = 0;
};

}  // namespace penstock::python
