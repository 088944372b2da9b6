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
  /// other from sleep make their waits long themselves, and would never find out. At once at first,
  /// as one long wait in a stream says nothing about the next; more seldom the more often that was
  /// in vain.
  void learn(std::int64_t waited_ns) noexcept {
    std::uint32_t budget = ns_.load(order::relaxed);
    if (waited_ns < limit_ns_) {
      budget = std::min(limit_ns_, std::max(2 * budget, kFirst_ns));
      trial_every_.store(1, order::relaxed);
    } else if (budget != 0) {
      budget = waited_ns < std::int64_t{kHopeless} * limit_ns_ ? budget / 2 : 0;
    } else if (waits_.fetch_add(1, order::relaxed) + 1 >= trial_every_.load(order::relaxed)) {
      budget = limit_ns_;
      waits_.store(0, order::relaxed);
      trial_every_.store(std::min(kTrialEvery, 2 * trial_every_.load(order::relaxed)),
                         order::relaxed);
    }
    ns_.store(budget, order::relaxed);
  }

 private:
  static constexpr std::uint32_t kFirst_ns = 5'000;
  static constexpr std::uint32_t kHopeless = 4;     ///< That many limits: no use in coming closer.
  static constexpr std::uint32_t kTrialEvery = 32;  ///< Waits without spinning, at most.
  const std::uint32_t limit_ns_;
  Atomic<std::uint32_t> ns_;
  Atomic<std::uint32_t> waits_{0};  // Without a budget, since the last trial.
  Atomic<std::uint32_t> trial_every_{1};
};

/// Lets producers get ahead of a consumer that is faster than they are. One that looks for each
/// message as soon as it could be there takes from them the lines that they write to, also those
/// that its processor fetches ahead, and both go at half the speed. So it does not look for as long
/// as it takes to write some thirty more, if so many came lately. Where each side waits for the
/// other there is one message at a time, and it looks at once.
///
/// Threads: any; a hint, so every access is relaxed.
class Headway {
 public:
  /// The consumer has taken a message.
  void took() noexcept {
    if (pays_) taken_.store(taken_.load(order::relaxed) + 1, order::relaxed);
  }

  /// There is none left. Returns before `deadline_ns`.
  void give(std::int64_t started_ns, std::int64_t deadline_ns) noexcept {
    if (!pays_) return;
    std::uint32_t const taken = std::min(taken_.load(order::relaxed), kMost_ns / kEach_ns);
    taken_.store(0, order::relaxed);
    if (taken <= 1) return;
    std::int64_t const until = std::min(started_ns + taken * kEach_ns, deadline_ns);
    do {
      for (int pause = 0; pause < 4; ++pause) spin_pause(0);
    } while (now_ns() < until);
  }

 private:
  /// A producer that needs longer for each loses less by it, and is left alone.
  static constexpr std::uint32_t kEach_ns = 250;
  static constexpr std::uint32_t kMost_ns = 4'000;
  const bool pays_ = spin_limit_ns() != 0;
  Atomic<std::uint32_t> taken_{0};  // Since then.
};

}  // namespace penstock
