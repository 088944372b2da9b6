// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/shim.hpp"
#include "penstock/waiter.hpp"

namespace penstock {

/// Waiters for positions of a stream, which only grows: nobody is woken before the least position
/// that is waited for is reached, then all are, and those who need more wait again.
///
/// Protocol: a waiter is added to waiters(), calls want(), looks at the position once more, then
/// sleeps until fired. A notifier moves the position, then calls advance().
///
/// Threads: any. Cost: advance() without waiters is one fence and one load.
///
/// Edges:
///   W1  (waiter.hpp) once more, for wanted_: want() lowers it, fence, then the waiter reads the
///       position; a notifier writes the position, fence, and then reads wanted_.
class PositionLine {
 public:
  /// For add() and remove(). Whoever leaves it needs to pass on nothing: all were woken.
  [[nodiscard]] WaitList& waiters() noexcept { return waiters_; }

  /// Before anybody else knows this line: those of other processes are in it, too, and `wanted`, in
  /// memory that they share, is of all of them.
  void set_far(FarWaiters& far, Atomic<std::uint64_t>& wanted) noexcept {
    waiters_.set_far(far);
    wanted_ = &wanted;
  }

  /// After add(): wake me once `position` is reached. Look again afterwards.
  void want(std::uint64_t position) noexcept {
    std::uint64_t wanted = wanted_->load(order::relaxed);
    while (position < wanted &&
           !wanted_->compare_exchange_weak(wanted, position, order::relaxed, order::relaxed)) {
    }
    waiters_.fence();
  }

  /// The position is `position` now.
  void advance(std::uint64_t position) noexcept {
    if (waiters_.anybody_waits() && wanted_->load(order::relaxed) <= position) wake_all();
  }

  /// Something else than the position changed that all must look at.
  void wake_all() noexcept {
    if (!waiters_.anybody_waits()) return;
    // First: who asks for a position from here on was added before that, or is not woken now.
    wanted_->store(kNobody, order::relaxed);  // Ordered by the fence of the next line.
    waiters_.wake_all();
  }

 private:
  static constexpr std::uint64_t kNobody = UINT64_MAX;
  WaitList waiters_;
  Atomic<std::uint64_t> wanted_here_{kNobody};
  Atomic<std::uint64_t>* wanted_ = &wanted_here_;
};

}  // namespace penstock
