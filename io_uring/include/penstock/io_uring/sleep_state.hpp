// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/shim.hpp"

namespace penstock::io_uring {

/// Whether an event loop sleeps, so that those who have something for it know whether to rouse it.
/// Before it sleeps it may look out for a while, and is roused by the word alone.
///
/// Threads: rouse() any, everything else the loop's. Cost: a fence each; rouse() one load more
/// while the loop is awake.
///
/// Edges:
///   L1  (store-load) prepare() writes word_, and then the loop looks at what others put down for
///       it; they put it down, and then rouse() reads word_. With a full fence between on both
///       sides at least one sees the other's write. Drop either and the loop may sleep beside it.
///       Between looking out and sleep there is one compare-and-swap on each side.
class SleepState {
 public:
  /// From here on rouse() does something. The loop looks once more at what others put down, and
  /// then either calls end(), or looks out for is_roused(), fall_asleep(), sleeps.
  void prepare() noexcept {
    word_.store(kLooksOut, order::relaxed);
    full_fence(word_, "L1");
  }
  [[nodiscard]] bool is_roused() const noexcept { return word_.load(order::relaxed) == kRoused; }
  /// From here on rouse() may say yes. False: it is roused, and must not sleep.
  [[nodiscard]] bool fall_asleep() noexcept {
    std::uint32_t looks_out = kLooksOut;
    return word_.compare_exchange_strong(looks_out, kAsleep, order::relaxed, order::relaxed) ||
           looks_out != kRoused;
  }
  void end() noexcept { word_.store(kAwake, order::relaxed); }

  /// Whether the caller is to end the sleep: true for one caller at most of each prepare(). It may
  /// be late, and end the next sleep.
  [[nodiscard]] bool rouse() noexcept {
    full_fence(word_, "L1");
    std::uint32_t state = word_.load(order::relaxed);
    while (state == kLooksOut || state == kAsleep) {
      if (word_.compare_exchange_strong(state, kRoused, order::relaxed, order::relaxed)) {
        return state == kAsleep;
      }
    }
    return false;
  }

 private:
  static constexpr std::uint32_t kAwake = 0;
  static constexpr std::uint32_t kLooksOut = 1;
  static constexpr std::uint32_t kAsleep = 2;  ///< Or about to be.
  static constexpr std::uint32_t kRoused = 3;
  Atomic<std::uint32_t> word_{kAwake};
};

}  // namespace penstock::io_uring
