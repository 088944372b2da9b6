// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "penstock/shim.hpp"

namespace penstock::io_uring {

/// How long a loop looks for events before it sleeps: a little while, for as long as that pays. An
/// idle virtual processor takes 25 us to come back, which is all that a request over loopback
/// takes; whoever has an answer within microseconds meets a loop that is awake.
///
/// A look-out that was in vain twice in a row ends it, and then each 32nd wait tries again: a peer
/// on this very processor answers only when we sleep, and one that thinks for a millisecond is not
/// worth a look. Nor are several peers that send much, each in its turn: they are busy with
/// copying, which a processor that looks out only slows down if it shares a core with theirs.
///
/// Threads: the one that waits.
class Lookout {
 public:
  Lookout() noexcept : Lookout(limit_of_process()) {}
  explicit Lookout(std::int64_t limit_ns) noexcept : limit_ns_(limit_ns) {}

  /// Calls `ready()` until it is true, and then returns true; false: sleep. Not beyond `deadline`
  /// (CLOCK_MONOTONIC, nanoseconds).
  template <class Ready>
  [[nodiscard]] bool look(std::int64_t deadline, Ready ready) noexcept {
    if (!is_worth_it()) return false;
    std::int64_t const until = now_ns() + limit_ns_;
    std::int64_t now = 0;
    do {
      // Nothing is looked up more often than twice in a tenth of a microsecond.
      for (int looks = 0; looks < 8; ++looks) {
        if (ready()) {
          credit_ = std::min(credit_ + 1, kMostCredit);
          return true;
        }
        for (int pause = 0; pause < 4; ++pause) spin_pause(0);
      }
      now = now_ns();
    } while (now < std::min(until, deadline));
    if (now >= until) lose_credit();
    return false;
  }

  /// Much has come from `peer`.
  void note_much(int peer) noexcept {
    if (std::exchange(last_peer_, peer) != peer) rests_ = kRestFor;
  }

  /// Of PENSTOCK_LOOP_SPIN_US, looked up once.
  [[nodiscard]] static std::int64_t limit_of_process() noexcept;
  /// Nanoseconds for a setting of microseconds, at most 1000 of them. For nullptr and what is no
  /// number: of 50, or 0 on a machine with one processor.
  [[nodiscard]] static std::int64_t limit_of(const char* setting) noexcept;

 private:
  [[nodiscard]] bool is_worth_it() noexcept {
    if (limit_ns_ == 0) return false;
    if (rests_ > 0) {
      --rests_;
      return false;
    }
    return credit_ > 0 || waits_++ % kTrialEvery == 0;
  }
  void lose_credit() noexcept {
    credit_ = std::max(credit_ - kMostCredit / 2, 0);
    if (credit_ == 0) waits_ = 1;
  }

  static constexpr int kMostCredit = 4;
  static constexpr std::uint32_t kTrialEvery = 32;
  static constexpr std::uint32_t kRestFor = 16;
  std::int64_t limit_ns_;
  int credit_ = 0;
  std::uint32_t waits_ = 0;  ///< Without credit, the trials among them.
  std::uint32_t rests_ = 0;  ///< Waits without a look.
  int last_peer_ = -1;
};

}  // namespace penstock::io_uring
