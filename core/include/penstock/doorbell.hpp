// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/ring_layout.hpp"
#include "penstock/shim.hpp"

namespace penstock {

/// Who of one end of a Link sleeps, in memory that both ends share.
///
/// Protocol: who is about to sleep calls lie_down(), looks at the rings once more, and sleeps. The
/// other end writes a ring, or makes room in one, then calls rouse(), and wakes whom it is told.
///
/// Threads: lie_down() and stay_up() whoever receives; rouse() the other end, rouse_here() this
/// one, any.
/// Edges:
///   S2  (store-load) lie_down() writes asleep_, fence, and its caller reads the rings; a ring was
///       written, and then rouse(): fence, reads asleep_. At least one sees the other's write.
class alignas(kSharedLine) Doorbell {
 public:
  enum Sleeper : std::uint32_t {
    nobody = 0,
    listener = 1,  ///< On the socket.
    looker = 2,    ///< On this word.
  };

  /// Look at the rings afterwards.
  void lie_down(Sleeper who) noexcept {
    asleep_.store(who, order::relaxed);
    full_fence(asleep_, "S2");
  }
  void stay_up() noexcept { asleep_.store(nobody, order::relaxed); }
  [[nodiscard]] std::uint32_t asleep() const noexcept { return asleep_.load(order::relaxed); }

  /// Whom to wake: each sleep is told once. The other end may have written anything there.
  [[nodiscard]] std::uint32_t rouse() noexcept {
    full_fence(asleep_, "S2");
    if (asleep_.load(order::relaxed) == nobody) return nobody;
    return asleep_.exchange(nobody, order::relaxed);
  }

  /// Sleeps as `looker`, after lie_down(), until rouse() said so and wake_looker() was called, or
  /// for no reason.
  void park() noexcept { (void)futex_wait(asleep_, looker, kNoDeadline, Reach::machine); }
  void wake_looker() noexcept { futex_wake(&asleep_, 1, Reach::machine); }
  /// Ends the sleep of a looker of this end, also of one whose place another has taken since.
  void rouse_here() noexcept {
    std::uint32_t who = looker;
    (void)asleep_.compare_exchange_strong(who, nobody, order::relaxed, order::relaxed);
    wake_looker();
  }

 private:
  Atomic<std::uint32_t> asleep_;
};

/// Who may receive from a Link, and decides who of its end sleeps.
///
/// Threads: any.
/// Edges:
///   S3  unlock() -> lock() and try_lock(): the receiving side of the ring.
class ReceiverRole {
 public:
  [[nodiscard]] bool try_lock() noexcept {
    std::uint32_t expected = kFree;
    return state_.load(order::relaxed) == kFree &&
           state_.compare_exchange_strong(expected, kTaken, order::acquire("S3"), order::relaxed);
  }
  /// Sleeps while somebody else has it.
  void lock() noexcept {
    if (try_lock()) return;
    while (state_.exchange(kWanted, order::acquire("S3")) != kFree) {
      (void)futex_wait(state_, kWanted, kNoDeadline);
    }
  }
  void unlock() noexcept {
    if (state_.exchange(kFree, order::release("S3")) == kWanted) futex_wake(&state_, 1);
  }

 private:
  static constexpr std::uint32_t kFree = 0, kTaken = 1, kWanted = 2;
  Atomic<std::uint32_t> state_{kFree};
};

}  // namespace penstock
