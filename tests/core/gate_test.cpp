// SPDX-License-Identifier: Apache-2.0
#include "penstock/gate.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "support.hpp"

namespace penstock {
namespace {

TEST(Gate, DoesNotSleepOnceNotified) {
  Gate gate;
  std::uint32_t const armed = gate.arm();
  gate.notify();
  gate.park(armed, kNoDeadline);  // Would hang.
}

TEST(Gate, SleepsUntilItsDeadline) {
  Gate gate;
  std::int64_t const until = now_ns() + 2'000'000;
  while (now_ns() < until) gate.park(gate.arm(), until);
  gate.park(gate.arm(), now_ns() - 1);
}

TEST(Gate, ForgetsNoSleeperOfSeveral) {
  constexpr unsigned kSleepers = 3;
  Gate gate;
  std::atomic<std::uint64_t> condition{0};
  std::atomic<std::uint64_t> awake{0};
  std::uint64_t const rounds = test::scaled(20'000);
  std::vector<std::jthread> threads;
  for (unsigned id = 0; id < kSleepers; ++id) {
    threads.emplace_back([&] {
      for (std::uint64_t round = 1; round <= rounds; ++round) {
        for (;;) {
          std::uint32_t const armed = gate.arm();
          if (condition.load(std::memory_order_relaxed) >= round) break;
          std::int64_t const until = test::deadline();
          gate.park(armed, until);
          ASSERT_LT(now_ns(), until);
        }
        awake.fetch_add(1);
      }
    });
  }
  test::Patience patience;
  for (std::uint64_t round = 1; round <= rounds; ++round) {
    condition.store(round, std::memory_order_relaxed);
    gate.notify();
    while (awake.load() != kSleepers * round) ASSERT_TRUE(patience.another_turn());
  }
}

}  // namespace
}  // namespace penstock
