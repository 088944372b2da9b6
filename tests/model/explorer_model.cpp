// SPDX-License-Identifier: Apache-2.0
#include "explorer.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>

#include "penstock/shim.hpp"

namespace penstock::model {
namespace {

// The explorer's own tests: what weak memory may and may not show. Litmus tests report the outcome
// they look for as a failure.

struct Flags {
  Atomic<std::uint32_t> x{0};
  Atomic<std::uint32_t> y{0};
  Atomic<std::uint32_t> futex{0};
  int data = 0;
};

Outcome search(Scenario scenario) {
  return explore(scenario, {.limits = {.preemptions = 6, .stale_reads = 6}});
}

TEST(Explorer, MessagePassingWithReleaseAndAcquireIsSound) {
  const Outcome outcome = search([] {
    Flags it;
    parallel(
        [&] {
          it.data = 42;
          it.x.store(1, order::release("test"));
        },
        [&] {
          if (it.x.load(order::acquire("test")) == 1) require(it.data == 42, "stale");
        });
  });
  EXPECT_FALSE(outcome.failed) << outcome.failure;
  EXPECT_TRUE(outcome.complete);
  EXPECT_LE(outcome.executions, 6U);
}

TEST(Explorer, MessagePassingWithoutReleaseOrWithoutAcquireIsADataRace) {
  const Outcome no_release = search([] {
    Flags it;
    parallel(
        [&] {
          it.data = 42;
          it.x.store(1, order::relaxed);
        },
        [&] {
          if (it.x.load(order::acquire("test")) == 1) require(it.data == 42, "stale");
        });
  });
  EXPECT_NE(no_release.failure.find("data race"), std::string::npos) << no_release.failure;
  const Outcome no_acquire = search([] {
    Flags it;
    parallel(
        [&] {
          it.data = 42;
          it.x.store(1, order::release("test"));
        },
        [&] {
          if (it.x.load(order::relaxed) == 1) require(it.data == 42, "stale");
        });
  });
  EXPECT_NE(no_acquire.failure.find("data race"), std::string::npos) << no_acquire.failure;
}

TEST(Explorer, RelaxedMessagePassingOfAtomicsReadsStaleData) {
  const Outcome outcome = search([] {
    Flags it;
    parallel(
        [&] {
          it.x.store(1, order::relaxed);
          it.y.store(1, order::relaxed);
        },
        [&] {
          if (it.y.load(order::relaxed) == 1) require(it.x.load(order::relaxed) == 1, "stale");
        });
  });
  EXPECT_NE(outcome.failure.find("stale"), std::string::npos);
}

template <bool First, bool Second>
void store_buffering() {
  Flags it;
  std::uint32_t seen[2];
  parallel(
      [&] {
        it.x.store(1, order::relaxed);
        if (First) full_fence(it.futex, "test");
        seen[0] = it.y.load(order::relaxed);
      },
      [&] {
        it.y.store(1, order::relaxed);
        if (Second) full_fence(it.futex, "test");
        seen[1] = it.x.load(order::relaxed);
      });
  require(seen[0] + seen[1] != 0, "both read the old value");
}

TEST(Explorer, StoreBufferingNeedsAFenceOnBothSides) {
  EXPECT_TRUE(search(store_buffering<false, false>).failed);
  EXPECT_TRUE(search(store_buffering<true, false>).failed);
  EXPECT_TRUE(search(store_buffering<false, true>).failed);
  const Outcome fenced = search(store_buffering<true, true>);
  EXPECT_FALSE(fenced.failed) << fenced.failure;
  EXPECT_TRUE(fenced.complete);
}

template <bool Fenced>
void independent_reads() {
  Flags it;
  std::uint32_t seen[4];
  parallel([&] { it.x.store(1, order::relaxed); }, [&] { it.y.store(1, order::relaxed); },
           [&] {
             seen[0] = it.x.load(order::acquire("test"));
             if (Fenced) full_fence(it.futex, "test");
             seen[1] = it.y.load(order::acquire("test"));
           },
           [&] {
             seen[2] = it.y.load(order::acquire("test"));
             if (Fenced) full_fence(it.futex, "test");
             seen[3] = it.x.load(order::acquire("test"));
           });
  require(!(seen[0] == 1 && seen[1] == 0 && seen[2] == 1 && seen[3] == 0), "two orders");
}

TEST(Explorer, IndependentReadersDisagreeUnlessTheyFence) {
  EXPECT_TRUE(search(independent_reads<false>).failed);
  const Outcome fenced = search(independent_reads<true>);
  EXPECT_FALSE(fenced.failed) << fenced.failure;
  EXPECT_TRUE(fenced.complete);
}

TEST(Explorer, AReleaseSequenceGoesThroughRelaxedReadModifyWrites) {
  const Outcome outcome = search([] {
    Flags it;
    parallel(
        [&] {
          it.data = 42;
          it.x.store(1, order::release("test"));
        },
        [&] { it.x.fetch_add(2, order::relaxed); },
        [&] {
          if (it.x.load(order::acquire("test")) == 3) require(it.data == 42, "stale");
        });
  });
  EXPECT_FALSE(outcome.failed) << outcome.failure;
}

TEST(Explorer, CompareExchangeLoopsLoseNoIncrement) {
  const Outcome outcome = search([] {
    Flags it;
    const auto add = [&] {
      std::uint32_t seen = it.x.load(order::relaxed);
      while (!it.x.compare_exchange_weak(seen, seen + 1, order::relaxed, order::relaxed)) {
      }
    };
    parallel(add, add, add);
    require(it.x.load(order::relaxed) == 3, "an increment was lost");
  });
  EXPECT_FALSE(outcome.failed) << outcome.failure;
  EXPECT_TRUE(outcome.complete);
}

TEST(Explorer, LoadThenStoreLosesAnIncrement) {
  EXPECT_TRUE(search([] {
                Flags it;
                const auto add = [&] { it.x.store(it.x.load(order::relaxed) + 1, order::relaxed); };
                parallel(add, add);
                require(it.x.load(order::relaxed) == 2, "an increment was lost");
              }).failed);
}

TEST(Explorer, ASpinLockExcludesAndAFairSpinnerGetsIn) {
  const Outcome outcome = search([] {
    Flags it;
    const auto body = [&] {
      for (unsigned turn = 0; it.x.exchange(1, order::acquire("test")) != 0; ++turn) {
        spin_pause(turn);
      }
      ++it.data;
      it.x.store(0, order::release("test"));
    };
    parallel(body, body, body);
    require(it.data == 3, "two held the lock");
  });
  EXPECT_FALSE(outcome.failed) << outcome.failure;
  EXPECT_TRUE(outcome.complete);
}

/// models/futex.c: publish, fence, look at the armed bit; against arm, fence, look, sleep.
template <bool NotifierFence, bool SleeperFence>
void park() {
  Flags it;  // x: published; futex: epoch << 1 | armed.
  parallel(
      [&] {
        it.x.store(1, order::release("test"));
        if (NotifierFence) full_fence(it.futex, "test");
        std::uint32_t word = it.futex.load(order::relaxed);
        if ((word & 1) != 0 &&
            it.futex.compare_exchange_strong(word, word + 1, order::relaxed, order::relaxed)) {
          futex_wake(&it.futex, 1);
        }
      },
      [&] {
        for (;;) {
          std::uint32_t const armed = it.futex.fetch_or(1, order::relaxed) | 1;
          if (SleeperFence) full_fence(it.futex, "test");
          if (it.x.load(order::acquire("test")) == 1) return;
          futex_wait(it.futex, armed, kNoDeadline);
        }
      });
}

TEST(Explorer, ParkingLosesAWakeUpUnlessBothSidesFence) {
  EXPECT_NE(search(park<false, false>).failure.find("deadlock"), std::string::npos);
  EXPECT_NE(search(park<true, false>).failure.find("deadlock"), std::string::npos);
  EXPECT_NE(search(park<false, true>).failure.find("deadlock"), std::string::npos);
  const Outcome fenced = search(park<true, true>);
  EXPECT_FALSE(fenced.failed) << fenced.failure;
  EXPECT_TRUE(fenced.complete);
}

TEST(Explorer, ASleeperWithADeadlineWakesByItself) {
  const Outcome outcome = search([] {
    Flags it;
    std::int64_t const deadline = now_ns() + 5;
    parallel([&] { futex_wait(it.futex, 0, deadline); });
    require(now_ns() == deadline, "the clock did not reach the deadline");
  });
  EXPECT_FALSE(outcome.failed) << outcome.failure;
}

TEST(Explorer, UseAfterFreeIsFound) {
  const Outcome outcome = search([] {
    auto* it = new Flags;
    parallel([it] { it->x.store(1, order::relaxed); }, [it] { delete it; });
  });
  EXPECT_TRUE(outcome.failed);
}

TEST(Explorer, AnAtomicThatIsOverwrittenStartsANewHistory) {
  const Outcome sound = search([] {
    Flags it;
    parallel([&] { it.x.store(7, order::relaxed); });
    zero(&it.x, sizeof it.x);
    parallel([&] { require(it.x.load(order::relaxed) == 0, "an older value came back"); });
  });
  EXPECT_FALSE(sound.failed) << sound.failure;
  const Outcome racy = search([] {
    Flags it;
    parallel([&] { zero(&it.x, sizeof it.x); }, [&] { (void)it.x.load(order::relaxed); });
  });
  EXPECT_NE(racy.failure.find("data race"), std::string::npos);
}

TEST(Explorer, ALeakIsFound) {
  EXPECT_TRUE(search([] { (void)new Flags; }).failed);
}

/// Three threads of three random accesses to two words.
struct Program {
  static constexpr unsigned kThreads = 3;
  static constexpr unsigned kLength = 3;
  std::uint32_t operations[kThreads][kLength];
};

constinit Program program{};
/// Which outcomes (hashed) were seen.
constinit std::uint8_t outcomes[4096]{};
constinit std::uint8_t outcomes_with_pruning[4096]{};

std::uint32_t run_operation(Flags& it, std::uint32_t what, std::uint32_t value) {
  Atomic<std::uint32_t>& word = (what & 1) != 0 ? it.x : it.y;
  switch (what / 2 % 6) {
    case 0:
      word.store(value, order::relaxed);
      return 0;
    case 1:
      word.store(value, order::release("test"));
      return 0;
    case 2:
      return word.load(order::acquire("test"));
    case 3:
      return word.fetch_add(value, order::acq_rel("test"));
    case 4:
      full_fence(it.futex, "test");
      return 0;
    default:
      return word.load(order::relaxed);
  }
}

void run_program() {
  Flags it;
  std::uint32_t seen[Program::kThreads] = {};
  const auto run = [&](unsigned thread) {
    for (unsigned i = 0; i < Program::kLength; ++i) {
      seen[thread] = seen[thread] * 31 + run_operation(it, program.operations[thread][i],
                                                       1 + thread * Program::kLength + i);
    }
  };
  parallel([&] { run(0); }, [&] { run(1); }, [&] { run(2); });
  std::uint32_t hash = it.x.load(order::relaxed) * 17 + it.y.load(order::relaxed);
  for (std::uint32_t const value : seen) hash = (hash ^ value) * 0x9E3779B1U;
  outcomes[hash >> 20] = 1;
}

TEST(Explorer, PruningLosesNoOutcomeOfRandomPrograms) {
  std::uint32_t random = 1;
  std::uint64_t pruned = 0;
  std::uint64_t full = 0;
  for (int round = 0; round < 150; ++round) {
    for (auto& thread : program.operations) {
      for (std::uint32_t& operation : thread) {
        operation = (random = random * 1664525 + 1013904223) >> 16;
      }
    }
    std::memset(outcomes, 0, sizeof outcomes);
    Plan plan{.limits = {.preemptions = 20, .stale_reads = 20, .prunes = true}};
    const Outcome small = explore(run_program, plan);
    std::memcpy(outcomes_with_pruning, outcomes, sizeof outcomes);
    std::memset(outcomes, 0, sizeof outcomes);
    plan.limits.prunes = false;
    const Outcome large = explore(run_program, plan);
    ASSERT_TRUE(small.complete && large.complete);
    ASSERT_EQ(std::memcmp(outcomes_with_pruning, outcomes, sizeof outcomes), 0)
        << "in round " << round;
    pruned += small.executions;
    full += large.executions;
  }
  EXPECT_LT(pruned * 2, full);
  std::printf("%llu executions instead of %llu\n", static_cast<unsigned long long>(pruned),
              static_cast<unsigned long long>(full));
}

/// A process that dies between two stores, and what others find.
template <bool InOrder>
void dies_between_stores() {
  Flags it;
  parallel(
      [&] {
        may_die();
        it.x.store(1, order::relaxed);
        it.y.store(1, InOrder ? order::release("test") : order::relaxed);
        (void)it.x.load(order::relaxed);
      },
      [&] {
        await_end(1);
        std::uint32_t const x = it.x.load(order::relaxed);
        std::uint32_t const y = it.y.load(order::relaxed);
        require(has_died() || (x == 1 && y == 1), "a store of who lived is missing");
        require(x == 1 || y == 0, "the second store without the first");
      });
}

TEST(Explorer, AProcessMayDieBetweenStoresAndNotBeforeTheFirstOfThem) {
  const Outcome outcome = search(dies_between_stores<true>);
  EXPECT_FALSE(outcome.failed) << outcome.failure;
  EXPECT_TRUE(outcome.complete);
}

TEST(Explorer, AStoreThatNothingOrdersMayBeMissingWhenItsProcessDies) {
  const Outcome outcome = search(dies_between_stores<false>);
  EXPECT_NE(outcome.failure.find("the second store without the first"), std::string::npos);
}

TEST(Explorer, NobodySleepsForEverBesideOneThatHasDied) {
  static unsigned deaths;
  deaths = 0;
  const Outcome outcome = search([] {
    Flags it;
    parallel(
        [&] {
          may_die();
          it.x.store(1, order::relaxed);
          it.x.store(2, order::relaxed);
          it.y.store(1, order::relaxed);
        },
        [&] { await_end(1); });
    deaths += has_died() ? 1 : 0;
  });
  EXPECT_FALSE(outcome.failed) << outcome.failure;
  EXPECT_GE(deaths, 2U);
}

TEST(Explorer, ARandomWalkRepeatsItselfFromItsSeed) {
  const Plan plan{.limits = {}, .most_executions = 0, .random_executions = 100, .seed = 7};
  const Outcome first = explore(store_buffering<false, false>, plan);
  const Outcome second = explore(store_buffering<false, false>, plan);
  EXPECT_TRUE(first.failed);
  EXPECT_EQ(first.failure, second.failure);
}

}  // namespace
}  // namespace penstock::model
