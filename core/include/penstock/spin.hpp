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
  /// other from sleep make their waits long themselves, and would never find out. Soon in a stream,
  /// where one long wait says nothing about the next; more seldom the more often that was in vain.
  void learn(std::int64_t waited_ns) noexcept {
    std::uint32_t budget = ns_.load(order::relaxed);
    std::uint32_t const trial_every = trial_every_.load(order::relaxed);
    if (waited_ns < limit_ns_) {
      budget = std::min(limit_ns_, std::max(2 * budget, kFirst_ns));
      if (trial_every > 1) trial_every_.store(trial_every - 1, order::relaxed);
    } else if (budget != 0) {
      budget = waited_ns < std::int64_t{kHopeless} * limit_ns_ ? budget / 2 : 0;
    } else if (waits_.fetch_add(1, order::relaxed) + 1 >= trial_every) {
      budget = limit_ns_;
      waits_.store(0, order::relaxed);
      trial_every_.store(std::min(kTrialEvery, 2 * trial_every), order::relaxed);
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
/// that its processor fetches ahead, and both go at half the speed. So, when it has taken all there
/// was, it does not look for as long as a fast producer needs for as many. That is nothing where
/// each side waits for the other with one message at a time.
///
/// Threads: took() and ran_dry() as the consumer, the others any; a hint, so every access is
/// relaxed.
class Headway {
 public:
  void took() noexcept {
    if (pays_) taken_.store(taken_.load(order::relaxed) + 1, order::relaxed);
  }
  void ran_dry() noexcept {
    if (!pays_) return;
    std::uint32_t const taken = std::min(taken_.load(order::relaxed), kMost_ns / kEach_ns);
    if (taken == 0) return;  // Not for the first time.
    ns_.store(taken == 1 ? 0 : taken * kEach_ns, order::relaxed);
    taken_.store(0, order::relaxed);
  }
  /// What give() would wait.
  [[nodiscard]] std::uint32_t ns() const noexcept { return ns_.load(order::relaxed); }

  /// Once, before the consumer looks again. Up to 4 us, and hardly beyond `deadline_ns`.
  void give(std::int64_t started_ns, std::int64_t deadline_ns) noexcept {
    std::uint32_t const ns = ns_.load(order::relaxed);
    if (ns == 0) return;
    ns_.store(0, order::relaxed);
    std::int64_t const until = std::min(started_ns + ns, deadline_ns);
    while (now_ns() < until) {
      for (int pause = 0; pause < 4; ++pause) spin_pause(0);
    }
  }

 private:
  static constexpr std::uint32_t kEach_ns = 100;
  static constexpr std::uint32_t kMost_ns = 4'000;
  const bool pays_ = spin_limit_ns() != 0;
  Atomic<std::uint32_t> taken_{0};  // Since it ran dry.
  Atomic<std::uint32_t> ns_{0};
};

}  // namespace penstock
