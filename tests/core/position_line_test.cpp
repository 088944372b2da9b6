// SPDX-License-Identifier: Apache-2.0
#include "penstock/position_line.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "support.hpp"

namespace penstock {
namespace {

using Wake = ThreadWaiter::Wake;

/// Whether `waiter` was fired, and out of line again.
bool was_fired(PositionLine& line, ThreadWaiter& waiter) { return waiter.leave(line.waiters()); }

TEST(PositionLine, WakesNobodyBeforeTheLeastPosition) {
  PositionLine line;
  ThreadWaiter near;
  ThreadWaiter far;
  line.waiters().add(far);
  line.want(20);
  line.waiters().add(near);
  line.want(10);
  line.advance(9);
  EXPECT_EQ(line.waiters().waiting(), 2U);
  line.advance(10);  // Both: the line does not know who wants what.
  EXPECT_EQ(line.waiters().waiting(), 0U);
  EXPECT_TRUE(was_fired(line, near) && was_fired(line, far));
  line.waiters().add(far);
  line.want(20);
  line.advance(19);
  EXPECT_EQ(line.waiters().waiting(), 1U);
  line.advance(1'000);
  EXPECT_TRUE(was_fired(line, far));
}

TEST(PositionLine, WakesThoseWhoWantNoPositionAtTheEndOnly) {
  PositionLine line;
  ThreadWaiter me;
  line.waiters().add(me);
  line.want(UINT64_MAX);
  line.advance(UINT64_MAX - 1);
  EXPECT_EQ(line.waiters().waiting(), 1U);
  line.wake_all();
  EXPECT_TRUE(was_fired(line, me));
  line.wake_all();  // Nobody is there.
  line.advance(5);
}

/// What one that left had wanted may wake others in vain, once, but nobody sleeps on.
TEST(PositionLine, SurvivesThoseWhoLeave) {
  PositionLine line;
  ThreadWaiter leaves;
  ThreadWaiter stays;
  line.waiters().add(leaves);
  line.want(5);
  EXPECT_FALSE(was_fired(line, leaves));
  line.waiters().add(stays);
  line.want(10);
  line.advance(5);
  EXPECT_TRUE(was_fired(line, stays));
  line.waiters().add(stays);
  line.want(10);
  line.advance(9);
  EXPECT_EQ(line.waiters().waiting(), 1U);
  line.advance(10);
  EXPECT_TRUE(was_fired(line, stays));
}

/// Waiters with steps of their own, some of whom give up, under a position that grows.
TEST(PositionLine, LosesNoWakeUpUnderLoad) {
  std::uint64_t const last = test::scaled(60'000);
  PositionLine line;
  std::atomic<std::uint64_t> position{0};
  std::atomic<std::uint64_t> slowest[3] = {};
  std::vector<std::jthread> threads;
  for (std::uint64_t id = 0; id < 3; ++id) {
    threads.emplace_back([&, id] {
      test::Random random(id + 1);
      ThreadWaiter me;
      std::uint64_t wanted = 0;
      while (wanted < last) {
        wanted = std::min(last, wanted + 1 + random.below(10 * (id + 1)));
        while (position.load(std::memory_order_relaxed) < wanted) {
          const bool hasty = random.below(16) == 0;
          line.waiters().add(me);
          line.want(wanted);
          Wake wake = Wake::fired;
          if (position.load(std::memory_order_relaxed) < wanted) {
            wake = me.park(hasty ? now_ns() : test::deadline());
          }
          (void)me.leave(line.waiters());
          ASSERT_TRUE(wake == Wake::fired || hasty);
        }
        slowest[id].store(wanted, std::memory_order_relaxed);
      }
    });
  }
  // Never so far ahead that nobody has to wait any more.
  test::Patience patience;
  for (std::uint64_t now = 1; now <= last; ++now) {
    for (auto& it : slowest) {
      while (it.load(std::memory_order_relaxed) + 100 < now) ASSERT_TRUE(patience.another_turn());
    }
    position.store(now, std::memory_order_relaxed);
    line.advance(now);
    if (now % 1'000 == 0) line.wake_all();
  }
  threads.clear();
  EXPECT_EQ(line.waiters().waiting(), 0U);
}

}  // namespace
}  // namespace penstock
