// SPDX-License-Identifier: Apache-2.0
#include "penstock/far_line.hpp"

#include <bit>

namespace penstock {

void FarLine::announce() noexcept {
  if (!is_usable()) return;
  is_marked_.store(1, order::release("D3"));
  marks_.fetch_or(self_, order::relaxed);  // Ordered by the fence of WaitList::add().
  // Again: who answers may have found that waiter gone already, and no mark yet, and taken it back.
  is_marked_.store(1, order::release("D3"));
}

bool FarLine::is_anybody_waiting() const noexcept {
  return is_usable() && (marks_.load(order::relaxed) & ~self_) != 0;
}

std::uint32_t FarLine::waiting() const noexcept {
  if (!is_usable()) return 0;
  return static_cast<std::uint32_t>(std::popcount(marks_.load(order::relaxed) & ~self_));
}

/// Behind a fence (D6). In turn: the next process after the one that was called last.
void FarLine::wake_one() noexcept {
  if (!is_usable()) return;
  // Others may set marks as fast as we take them away: nobody keeps us here for ever.
  for (unsigned tries = 0; tries < kProcesses; ++tries) {
    std::uint64_t const marks = marks_.load(order::relaxed) & ~self_;
    if (marks == 0) return;
    const unsigned after = last_called_.load(order::relaxed) + 1;
    const unsigned number = (after + static_cast<unsigned>(std::countr_zero(
                                         std::rotr(marks, static_cast<int>(after % kProcesses))))) %
                            kProcesses;
    std::uint64_t const mark = std::uint64_t{1} << number;
    if ((marks_.fetch_and(~mark, order::relaxed) & mark) == 0) continue;
    last_called_.store(number, order::relaxed);
    return bells_.ring(number);
  }
}

/// Its callers may not have been at the fence of a list.
void FarLine::wake_all() noexcept {
  if (!is_usable()) return;
  full_fence(last_called_, "W1");
  std::uint64_t marks = marks_.fetch_and(self_, order::relaxed) & ~self_;
  for (; marks != 0; marks &= marks - 1) {
    bells_.ring(static_cast<unsigned>(std::countr_zero(marks)));
  }
}

/// A waiter that comes from now on looks for itself. One that came before is in the list: it was
/// put there before is_marked_ was set, which we take back by an exchange.
bool FarLine::answer(WaitList& near) noexcept {
  if (is_marked_.exchange(0, order::acquire("D3")) == 0) return false;
  if (near.waiting_near() != 0) {
    announce();
    near.fence();
    return true;
  }
  if ((marks_.load(order::acquire("D6")) & self_) == 0) return true;
  is_marked_.store(1, order::relaxed);  // Nobody called: whoever waited has gone.
  return false;
}

void FarLine::forget(unsigned process) noexcept {
  marks_.fetch_and(~(std::uint64_t{1} << process), order::relaxed);
}

}  // namespace penstock
