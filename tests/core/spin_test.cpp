// SPDX-License-Identifier: Apache-2.0
// What the two hints on waiting learn; how long they really wait is the benchmarks' business.
#include "penstock/spin.hpp"

#include <gtest/gtest.h>

namespace penstock {
namespace {

constexpr std::int64_t kShort_ns = 1'000;
constexpr std::int64_t kLong_ns = 1'000'000'000;

/// On one processor nobody spins.
bool spinning_pays() { return spin_limit_ns() != 0; }

/// Waits of that kind until there is a budget again, at most so many.
int waits_until_trial(SpinBudget& spin, std::int64_t waited_ns, int most) {
  int waits = 0;
  while (spin.ns() == 0 && waits < most) {
    spin.learn(waited_ns);
    ++waits;
  }
  return waits;
}

TEST(SpinBudget, GrowsToItsLimitWhileWaitsAreShort) {
  SpinBudget spin;
  for (int i = 0; i < 20; ++i) spin.learn(kShort_ns);
  EXPECT_EQ(spin.ns(), spin_limit_ns());
}

TEST(SpinBudget, IsGoneAfterALongWaitAndTriedAgainWithTheNext) {
  SpinBudget spin;
  spin.learn(kLong_ns);
  EXPECT_EQ(spin.ns(), 0U);
  spin.learn(kLong_ns);
  EXPECT_EQ(spin.ns(), spin_limit_ns());
}

TEST(SpinBudget, IsTriedLessOftenTheMoreOftenInVain) {
  if (!spinning_pays()) return;
  SpinBudget spin;
  spin.learn(kLong_ns);
  for (int every : {1, 2, 4, 8, 16, 32, 32, 32}) {
    EXPECT_EQ(waits_until_trial(spin, kLong_ns, 100), every);
    spin.learn(kLong_ns);  // The trial.
    EXPECT_EQ(spin.ns(), 0U);
  }
}

TEST(SpinBudget, OneShortWaitDoesNotUndoWhatManyLongOnesTaught) {
  if (!spinning_pays()) return;
  SpinBudget spin;
  spin.learn(kLong_ns);
  for (int i = 0; i < 6; ++i) {
    (void)waits_until_trial(spin, kLong_ns, 100);
    spin.learn(kLong_ns);
  }
  spin.learn(kShort_ns);
  spin.learn(kLong_ns);
  EXPECT_EQ(waits_until_trial(spin, kLong_ns, 100), 31);
}

TEST(SpinBudget, NeverExceedsALimitOfItsOwn) {
  SpinBudget spin(10);
  for (int i = 0; i < 20; ++i) spin.learn(1);
  EXPECT_LE(spin.ns(), 10U);
}

/// Takes so many, and finds no more.
void take(Headway& headway, int messages) {
  for (int i = 0; i < messages; ++i) headway.took();
  headway.ran_dry();
}

/// What it waits then.
std::uint32_t ns_after(int messages) {
  Headway headway;
  take(headway, messages);
  return headway.ns();
}

TEST(Headway, IsNothingWhereOneMessageComesAtATime) {
  Headway headway;
  for (int i = 0; i < 100; ++i) {
    take(headway, 1);
    EXPECT_EQ(headway.ns(), 0U);
  }
}

TEST(Headway, GrowsWithWhatWasTakenUpToALimit) {
  std::uint32_t const few = ns_after(10);
  EXPECT_EQ(few != 0, spinning_pays());
  EXPECT_EQ(ns_after(20), 2 * few);
  EXPECT_EQ(ns_after(100'000), ns_after(40));
}

TEST(Headway, IsGivenOnce) {
  Headway headway;
  take(headway, 10);
  headway.ran_dry();  // Whoever looks a second time changes nothing.
  EXPECT_EQ(headway.ns() != 0, spinning_pays());
  headway.give(now_ns(), kNoDeadline);
  EXPECT_EQ(headway.ns(), 0U);
}

TEST(Headway, DoesNotWaitBeyondADeadline) {
  Headway headway;
  take(headway, 100'000);
  std::int64_t const start = now_ns();
  // Were the deadline ignored, it would end in the year 2262.
  headway.give(start + (std::int64_t{1} << 62), start);
  EXPECT_EQ(headway.ns(), 0U);
}

}  // namespace
}  // namespace penstock
