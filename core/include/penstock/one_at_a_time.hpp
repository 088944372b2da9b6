// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/shim.hpp"

namespace penstock {

/// Work that one thread at a time does for all: who comes while it is being done has it done once
/// more, and goes on. So nobody waits, and what somebody put down before run() is seen.
///
/// Threads: any.
/// Edges:
///   S1  whoever works takes comers_ from 0, acquire, and to 0, release: what the one before did;
///       and each who comes adds to it, release, which whoever works takes off, acquire: what he
///       put down.
class OneAtATime {
 public:
  /// Does `work()`, or leaves it to whoever is at it.
  template <class Work>
  void run(Work work) noexcept {
    if (comers_.fetch_add(1, order::acq_rel("S1")) != 0) return;
    work();
    leave(work);
  }
  /// Does `first()`, if nobody is at it, and then `work()` if others came. False: somebody was.
  template <class First, class Work>
  [[nodiscard]] bool try_run(First first, Work work) noexcept {
    std::uint32_t nobody = 0;
    if (!comers_.compare_exchange_strong(nobody, 1, order::acquire("S1"), order::relaxed)) {
      return false;
    }
    first();
    leave(work);
    return true;
  }
  /// A hint.
  [[nodiscard]] bool is_idle() const noexcept { return comers_.load(order::relaxed) == 0; }

 private:
  template <class Work>
  void leave(Work work) noexcept {
    for (std::uint32_t seen = 1;;) {
      std::uint32_t const before = comers_.fetch_sub(seen, order::acq_rel("S1"));
      if (before == seen) return;
      seen = before - seen;
      work();
    }
  }

  Atomic<std::uint32_t> comers_{0};
};

}  // namespace penstock
