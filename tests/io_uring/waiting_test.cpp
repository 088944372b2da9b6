// SPDX-License-Identifier: Apache-2.0
// Deadlines, and the end of a wait by other threads and by signals.
#include <sys/resource.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "reactor_case.hpp"

namespace penstock::io_uring {
namespace {

using test::deadline;
using test::scaled;

class Waiting : public test::OnEach {
 protected:
  /// How often alarms of this process were rung that nobody took back.
  static std::uint64_t rings() {
    std::uint64_t sum = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
      std::ifstream file(entry.path());
      for (std::string word; file >> word;) {
        if (word != "eventfd-count:") continue;
        std::uint64_t count = 0;
        file >> std::hex >> count;
        sum += count;
      }
    }
    return sum;
  }
};
PENSTOCK_ON_EACH_BACKEND(Waiting);

std::uint64_t sleeps_of_this_thread() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return static_cast<std::uint64_t>(usage.ru_nvcsw);
}

TEST_P(Waiting, EndsAtItsDeadlineAndNotBefore) {
  for (std::int64_t const length : {50'000, 1'000'000, 10'000'000}) {
    std::array<std::int64_t, 21> late{};
    for (std::int64_t& it : late) {
      std::int64_t const until = now_ns() + length;
      // It may return for no reason, but not go on doing so.
      int turns = 0;
      reactor->prepare_to_wait();
      do {
        EXPECT_TRUE(reactor->wait(until).empty());
      } while (now_ns() < until && ++turns < 3);
      reactor->after_wait();
      it = now_ns() - until;
      EXPECT_GE(it, 0) << "of " << length << " ns";
    }
    std::nth_element(late.begin(), late.begin() + late.size() / 2, late.end());
    EXPECT_LT(late[late.size() / 2], 1'000'000) << "of " << length << " ns";
  }
}

TEST_P(Waiting, DoesNotWaitForADeadlineThatIsOver) {
  for (std::int64_t const until : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1}}) {
    std::int64_t const start = now_ns();
    reactor->prepare_to_wait();
    EXPECT_TRUE(reactor->wait(until).empty());
    reactor->after_wait();
    EXPECT_LT(now_ns() - start, 1'000'000'000);
  }
}

TEST_P(Waiting, PollDoesNotWait) {
  std::int64_t const start = now_ns();
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(reactor->poll().empty());
  EXPECT_LT(now_ns() - start, 1'000'000'000);
}

TEST_P(Waiting, WakeOfAnAwakeLoopRingsNothing) {
  wait();
  std::uint64_t const before = rings();
  for (int i = 0; i < 1000; ++i) reactor->wake();
  EXPECT_EQ(rings(), before);
  reactor->prepare_to_wait();
  // One that is not asleep yet learns of it by itself.
  for (int i = 0; i < 1000; ++i) reactor->wake();
  EXPECT_EQ(rings(), before);
  std::int64_t const until = deadline();
  EXPECT_TRUE(reactor->wait(until).empty());
  reactor->after_wait();
  EXPECT_LT(now_ns(), until);
  reactor->wake();
  EXPECT_EQ(rings(), before);
}

TEST_P(Waiting, WakeRingsOnceForOneThatSleeps) {
  reactor->look_out_for(0);
  std::uint64_t const before = rings();
  std::uint64_t const sleeps = sleeps_of_this_thread();
  std::int64_t const until = deadline();
  std::atomic<bool> is_over{false};
  std::jthread const other([&] {
    while (!is_over) reactor->wake();
  });
  while (sleeps_of_this_thread() - sleeps < 100 && now_ns() < until) (void)wait(1'000'000'000);
  is_over = true;
  EXPECT_GE(sleeps_of_this_thread() - sleeps, 100);
  EXPECT_GE(rings() - before, 1);
}

/// A loop that looks out meets what comes within microseconds awake.
TEST_P(Waiting, LooksOutForEvents) {
  constexpr int rounds = 1000;
  reactor->look_out_for(60'000'000'000);
  const test::Pair pair;
  ASSERT_EQ(reactor->watch(pair.ours.get(), readable, Trigger::level, &owners[0]), 0);
  std::atomic<int> wanted{0};
  std::jthread const other([&] {
    for (int round = 0; round < rounds; ++round) {
      for (unsigned turn = 0; wanted <= round; ++turn) spin_pause(turn);
      pair.put();
    }
  });
  std::uint64_t const before = sleeps_of_this_thread();
  for (int round = 0; round < rounds; ++round) {
    wanted = round + 1;
    ASSERT_EQ(next(&owners[0]), readable);
    ASSERT_EQ(pair.take(), "x");
  }
  // It may block now and then in a system call, or be made to give its processor away.
  EXPECT_LT(sleeps_of_this_thread() - before, rounds / 10);
}

TEST_P(Waiting, WakesOneSleepEach) {
  for (int round = 0; round < 100; ++round) {
    std::int64_t const start = now_ns();
    reactor->prepare_to_wait();
    reactor->wake();
    EXPECT_TRUE(reactor->wait(start + 60'000'000'000).empty());
    reactor->after_wait();
    EXPECT_LT(now_ns() - start, 30'000'000'000);
  }
  std::int64_t const until = now_ns() + 1'000'000;
  reactor->prepare_to_wait();
  while (now_ns() < until) EXPECT_TRUE(reactor->wait(until).empty());
  reactor->after_wait();
}

/// Another thread has something for the loop whenever it is about to sleep, looks out, or sleeps.
void loses_no_wake_up(Reactor* reactor) {
  constexpr std::int64_t guard_ns = 2'000'000'000;
  std::atomic<std::uint64_t> box{0};
  std::atomic<std::uint64_t> taken{0};
  std::atomic<bool> enough{false};
  std::jthread const other([&] {
    penstock::test::Random random(1);
    for (std::uint64_t number = 1; !enough; ++number) {
      for (std::uint64_t delay = random.below(4) == 0 ? 0 : random.below(120); delay > 0; --delay) {
        spin_pause(0);
      }
      box.store(number, std::memory_order_relaxed);
      reactor->wake();
      for (unsigned turn = 0; taken < number && !enough; ++turn) spin_pause(turn);
    }
  });
  std::uint64_t const wanted = scaled(100'000);
  std::uint64_t const before = sleeps_of_this_thread();
  std::uint64_t last = 0;
  for (std::uint64_t turn = 0; (turn & 63) != 0 || sleeps_of_this_thread() - before < wanted;
       ++turn) {
    reactor->prepare_to_wait();
    if (box.load(std::memory_order_relaxed) == last) {
      std::int64_t const until = now_ns() + guard_ns;
      (void)reactor->wait(until);
      if (now_ns() >= until && box.load(std::memory_order_relaxed) != last) {
        ADD_FAILURE() << "rescued after " << turn << " turns";
        break;
      }
    }
    reactor->after_wait();
    last = box.load(std::memory_order_relaxed);
    taken = last;
  }
  enough = true;
}

TEST_P(Waiting, LosesNoWakeUp) {
  reactor->look_out_for(0);
  loses_no_wake_up(reactor.get());
}

TEST_P(Waiting, LosesNoWakeUpWhenItHasLookedOut) {
  // Too short for half of what comes.
  reactor->look_out_for(1'000);
  loses_no_wake_up(reactor.get());
}

TEST_P(Waiting, EndsAtASignal) {
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(sigaction(SIGALRM, &action, &before), 0);
  const itimerval soon{{0, 5000}, {0, 5000}};  // Again and again: one may come before the wait.
  const itimerval never{};
  std::int64_t const until = deadline();
  setitimer(ITIMER_REAL, &soon, nullptr);
  reactor->prepare_to_wait();
  EXPECT_TRUE(reactor->wait(until).empty());
  reactor->after_wait();
  setitimer(ITIMER_REAL, &never, nullptr);
  EXPECT_LT(now_ns(), until);
  sigaction(SIGALRM, &before, nullptr);
}

}  // namespace
}  // namespace penstock::io_uring
