// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/shim.hpp"

namespace penstock::io_uring {

/// Whether an event loop sleeps, so that those who have something for it know whether to rouse it.
///
/// Threads: prepare() and end() the loop's, rouse() any. Cost: a fence each; rouse() one load more
/// while the loop is awake.
///
/// Edges:
///   L1  (store-load) prepare() writes word_, and then the loop looks at what others put down for
///       it; they put it down, and then rouse() reads word_. With a full fence between on both
///       sides at least one sees the other's write. Drop either and the loop may sleep beside it.
class SleepState {
 public:
  /// From here on rouse() may say yes. The loop looks once more, and then sleeps or calls end().
  void prepare() noexcept {
    word_.store(kAsleep, order::relaxed);
    full_fence(word_, "L1");
  }
  void end() noexcept { word_.store(kAwake, order::relaxed); }

  /// Whether the caller is to end the sleep: true for one caller at most of each prepare(). It may
  /// be late, and end the next sleep.
  [[nodiscard]] bool rouse() noexcept {
    full_fence(word_, "L1");
    if (word_.load(order::relaxed) != kAsleep) return false;
    std::uint32_t asleep = kAsleep;
    return word_.compare_exchange_strong(asleep, kRoused, order::relaxed, order::relaxed);
  }

 private:
  static constexpr std::uint32_t kAwake = 0;
  static constexpr std::uint32_t kAsleep = 1;  ///< Or about to be.
  static constexpr std::uint32_t kRoused = 2;
  Atomic<std::uint32_t> word_{kAwake};
};

}  // namespace penstock::io_uring
