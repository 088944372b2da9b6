// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <climits>
#include <cstdint>

#include "penstock/shim.hpp"

namespace penstock {

/// Where the users of a ring in shared memory sleep: one futex word, epoch << 1 | armed, that works
/// between processes. A burst costs one wake-up: the notifier that clears the bit wakes.
///
/// Protocol: a sleeper calls arm(), looks at the condition once more, then park() with what arm()
/// returned; a notifier makes the condition true, then calls notify(). The bit may stay set after a
/// sleeper changed its mind: that costs one vain wake.
///
/// Threads: any number of both, in any process that maps the word.
///
/// Edges:
///   G1  (store-load) arm() writes the word and then reads the condition; a notifier writes the
///       condition and then reads the word. As W1 (waiter.hpp).
class Gate {
 public:
  [[nodiscard]] std::uint32_t arm() noexcept {
    std::uint32_t const armed = word_.fetch_or(1, order::relaxed) | 1;  // Ordered by the fence.
    full_fence(word_, "G1");
    return armed;
  }
  /// Until notified since `armed`, `deadline_ns` of CLOCK_MONOTONIC, or for no reason.
  void park(std::uint32_t armed, std::int64_t deadline_ns) noexcept {
    futex_wait(word_, armed, deadline_ns, Reach::machine);
  }
  void notify() noexcept {
    full_fence(word_, "G1");
    std::uint32_t word = word_.load(order::relaxed);
    if ((word & 1) == 0) return;
    // Whoever loses has been overtaken by another notifier, which wakes the same sleepers.
    if (word_.compare_exchange_strong(word, (word & ~1U) + 2, order::relaxed, order::relaxed)) {
      futex_wake(&word_, INT_MAX, Reach::machine);
    }
  }

 private:
  Atomic<std::uint32_t> word_{0};
};

}  // namespace penstock
