// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "penstock/shim.hpp"

namespace penstock {

/// How long a consumer looks again and again before it sleeps: for as long as that paid lately. The
/// next piece of a stream comes within microseconds, and a sleep costs the producer a system call.
///
/// Threads: any; a hint, so every access is relaxed.
class SpinBudget {
 public:
  /// Never spins for longer than `limit_ns`, nor than spin_limit_ns().
  explicit SpinBudget(std::uint32_t limit_ns = UINT32_MAX) noexcept
      : limit_ns_(std::min(limit_ns, spin_limit_ns())), ns_(std::min(kFirst_ns, limit_ns_)) {}

  /// How long it pays now, for who looks by other means than spin().
  [[nodiscard]] std::uint32_t ns() const noexcept { return ns_.load(order::relaxed); }

  /// Calls `ready()` until it is true, the budget is spent, or `deadline_ns` passes.
  template <class Ready>
  [[nodiscard]] bool spin(std::int64_t started_ns, std::int64_t deadline_ns, Ready ready) noexcept {
    std::uint32_t const budget = ns_.load(order::relaxed);
    if (budget == 0) return false;
    std::int64_t const until = std::min(started_ns + budget, deadline_ns);
    do {
      for (int look = 0; look < 16; ++look) {
        if (ready()) return true;
        // Never yields the processor: Linux 6.18 takes a slice of 3 ms from a thread for each yield
        // while anything else wants its processor, whereas one that sleeps is woken at once.
        for (int pause = 0; pause < 4; ++pause) spin_pause(0);
      }
    } while (now_ns() < until);
    return false;
  }

  /// Doubles the budget after a wait that was short enough to be spun through, halves it after a
  /// longer one. When there is none left it tries again now and then: two sides that wake each
  /// other from sleep make their waits long themselves, and would never find out.
  void learn(std::int64_t waited_ns) noexcept {
    std::uint32_t budget = ns_.load(order::relaxed);
    if (waited_ns < limit_ns_) {
      budget = std::min(limit_ns_, std::max(2 * budget, kFirst_ns));
    } else if (budget != 0) {
      budget = waited_ns < std::int64_t{kHopeless} * limit_ns_ ? budget / 2 : 0;
    } else if (waits_.fetch_add(1, order::relaxed) % kTrialEvery == kTrialEvery - 1) {
      budget = limit_ns_;
    }
    ns_.store(budget, order::relaxed);
  }

 private:
  static constexpr std::uint32_t kFirst_ns = 5'000;
  static constexpr std::uint32_t kHopeless = 4;     ///< That many limits: no use in coming closer.
  static constexpr std::uint32_t kTrialEvery = 32;  ///< Waits without spinning.
  const std::uint32_t limit_ns_;
  Atomic<std::uint32_t> ns_;
  Atomic<std::uint32_t> waits_{0};  // Without a budget.
};

}  // namespace penstock
