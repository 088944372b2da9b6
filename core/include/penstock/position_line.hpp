// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
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
  /// memory that they share, is the least position that any of them wants.
  void set_far(FarWaiters& far, Atomic<std::uint64_t>& wanted) noexcept {
    waiters_.set_far(far);
    far_ = &far;
    wanted_far_ = &wanted;
  }

  /// After add(): wake me once `position` is reached. Look again afterwards.
  void want(std::uint64_t position) noexcept {
    lower(wanted_, position);
    if (wanted_far_ != nullptr) lower(*wanted_far_, position);
    waiters_.fence();
  }

  /// The position is `position` now.
  void advance(std::uint64_t position) noexcept {
    if (waiters_.anybody_waits() && least_wanted() <= position) wake_all();
  }

  /// Something else than the position changed that all must look at.
  void wake_all() noexcept {
    if (!waiters_.anybody_waits()) return;
    // First: who asks for a position from here on was added before that, or is not woken now.
    wanted_.store(kNobody, order::relaxed);  // Ordered by the fence of the next line but one.
    if (wanted_far_ != nullptr) wanted_far_->store(kNobody, order::relaxed);
    waiters_.wake_all();
  }

  /// For the thread that other processes call: wakes all of this process if `is_reached` says that
  /// the position is, or that they must look anyway. One process that calls speaks for all
  /// positions: those that are not reached are asked for again.
  template <class IsReached>
  void answer(IsReached is_reached) noexcept {
    if (!far_->answer(waiters_)) return;
    std::uint64_t const wanted = wanted_.load(order::relaxed);
    if (!is_reached(wanted)) {
      lower(*wanted_far_, wanted);
      waiters_.fence();
      if (!is_reached(wanted)) return;
    }
    wanted_.store(kNobody, order::relaxed);  // First, as in wake_all().
    waiters_.wake_all_near();
  }

 private:
  static constexpr std::uint64_t kNobody = UINT64_MAX;

  static void lower(Atomic<std::uint64_t>& word, std::uint64_t position) noexcept {
    std::uint64_t wanted = word.load(order::relaxed);
    while (position < wanted &&
           !word.compare_exchange_weak(wanted, position, order::relaxed, order::relaxed)) {
    }
  }
  [[nodiscard]] std::uint64_t least_wanted() const noexcept {
    std::uint64_t const here = wanted_.load(order::relaxed);
    return wanted_far_ == nullptr ? here : std::min(here, wanted_far_->load(order::relaxed));
  }

  WaitList waiters_;
  Atomic<std::uint64_t> wanted_{kNobody};
  FarWaiters* far_ = nullptr;
  Atomic<std::uint64_t>* wanted_far_ = nullptr;  // Together with it.
};

}  // namespace penstock
