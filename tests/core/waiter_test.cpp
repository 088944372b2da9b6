// SPDX-License-Identifier: Apache-2.0
#include "penstock/waiter.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "support.hpp"

namespace penstock {
namespace {

using Wake = ThreadWaiter::Wake;

/// Notes when it is fired.
class NotingWaiter final : public Waiter {
 public:
  NotingWaiter(std::vector<int>& fired, int id, bool alive = true)
      : fired_(fired), id_(id), alive_(alive) {}

 private:
  bool fire() noexcept override {
    fired_.push_back(id_);
    return alive_;
  }
  std::vector<int>& fired_;
  int id_;
  bool alive_;
};

TEST(WaitList, WakesInOrderOfArrival) {
  std::vector<int> fired;
  WaitList list;
  NotingWaiter first(fired, 1), second(fired, 2), third(fired, 3);
  list.wake_one();
  list.add(first);
  list.add(second);
  list.add(third);
  EXPECT_EQ(list.waiting(), 3U);
  list.wake_one();
  EXPECT_EQ(fired, (std::vector{1}));
  list.wake_one();
  list.wake_one();
  list.wake_one();
  EXPECT_EQ(fired, (std::vector{1, 2, 3}));
  EXPECT_EQ(list.waiting(), 0U);
}

TEST(WaitList, GivesAWaiterThatWasWokenInVainItsOldPlace) {
  std::vector<int> fired;
  WaitList list;
  NotingWaiter first(fired, 1), second(fired, 2), third(fired, 3);
  list.add(first);
  list.add(second);
  list.add(third);
  list.wake_one();
  list.wake_one();
  list.add(second);  // In vain.
  list.add(first);   // In vain, too.
  list.wake_all();
  EXPECT_EQ(fired, (std::vector{1, 2, 1, 2, 3}));
  WaitList::forget_place(first);
  list.add(second);
  list.add(first);
  list.wake_all();
  EXPECT_EQ(fired, (std::vector{1, 2, 1, 2, 3, 2, 1}));
}

TEST(WaitList, RemovesFromEveryPlace) {
  for (int gone = 0; gone < 3; ++gone) {
    std::vector<int> fired;
    WaitList list;
    NotingWaiter waiters[3] = {{fired, 0}, {fired, 1}, {fired, 2}};
    for (NotingWaiter& waiter : waiters) list.add(waiter);
    EXPECT_TRUE(list.remove(waiters[gone]));
    EXPECT_FALSE(list.remove(waiters[gone]));
    list.wake_all();
    std::vector<int> expected{0, 1, 2};
    expected.erase(expected.begin() + gone);
    EXPECT_EQ(fired, expected);
    EXPECT_FALSE(list.remove(waiters[(gone + 1) % 3]));
  }
}

TEST(WaitList, SkipsWaitersWhoseOwnerIsGone) {
  std::vector<int> fired;
  WaitList list;
  NotingWaiter gone(fired, 1, false), also_gone(fired, 2, false), alive(fired, 3), last(fired, 4);
  for (NotingWaiter* waiter : {&gone, &also_gone, &alive, &last}) list.add(*waiter);
  list.wake_one();
  EXPECT_EQ(fired, (std::vector{1, 2, 3}));
  EXPECT_EQ(list.waiting(), 1U);
}

/// Comes back to the line each time it is woken.
class ReturningWaiter final : public Waiter {
 public:
  ReturningWaiter(WaitList& list, int& fired) : list_(list), fired_(fired) {}

 private:
  bool fire() noexcept override {
    ++fired_;
    list_.add(*this);
    return true;
  }
  WaitList& list_;
  int& fired_;
};

TEST(WaitList, WakingAllEndsAlthoughTheWokenComeBack) {
  WaitList list;
  int fired = 0;
  ReturningWaiter one(list, fired), two(list, fired);
  list.add(one);
  list.add(two);
  list.wake_all();
  EXPECT_EQ(fired, 2);
  EXPECT_EQ(list.waiting(), 2U);
}

TEST(ThreadWaiter, ReturnsAtOnceWhenAlreadyFired) {
  WaitList list;
  ThreadWaiter me;
  list.add(me);
  list.wake_one();
  EXPECT_EQ(me.park(kNoDeadline), Wake::fired);
  EXPECT_TRUE(me.leave(list));
}

TEST(ThreadWaiter, TimesOutAndLeavesNothingBehind) {
  WaitList list;
  ThreadWaiter me;
  list.add(me);
  std::int64_t const until = now_ns() + 2'000'000;
  EXPECT_EQ(me.park(until), Wake::timeout);
  EXPECT_GE(now_ns(), until);
  EXPECT_EQ(me.park(0), Wake::timeout);
  EXPECT_EQ(me.park(-5), Wake::timeout);
  EXPECT_FALSE(me.leave(list));
  EXPECT_EQ(list.waiting(), 0U);
}

TEST(ThreadWaiter, ReportsAWakeUpThatCameTogetherWithTheTimeout) {
  WaitList list;
  ThreadWaiter me;
  list.add(me);
  EXPECT_EQ(me.park(0), Wake::timeout);
  list.wake_one();
  EXPECT_TRUE(me.leave(list));
  list.add(me);  // And is as new.
  EXPECT_EQ(me.park(0), Wake::timeout);
  EXPECT_FALSE(me.leave(list));
}

TEST(ThreadWaiter, StaysInterrupted) {
  WaitList list;
  ThreadWaiter me;
  EXPECT_FALSE(me.interrupted());
  list.add(me);
  std::jthread const interrupter([&] { me.interrupt(); });
  EXPECT_EQ(me.park(test::deadline()), Wake::interrupted);
  EXPECT_FALSE(me.leave(list));
  EXPECT_TRUE(me.interrupted());
  list.add(me);
  EXPECT_EQ(me.park(test::deadline()), Wake::interrupted);
  list.wake_one();
  EXPECT_EQ(me.park(test::deadline()), Wake::fired);  // A wake-up is never lost to an interrupt.
  EXPECT_TRUE(me.leave(list));
}

TEST(ThreadWaiter, ReturnsOnASignal) {
  struct sigaction action {};
  action.sa_handler = [](int) {};  // Without SA_RESTART.
  struct sigaction before {};
  ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
  WaitList list;
  std::atomic<bool> done{false};
  std::atomic<Wake> woken{Wake::fired};
  std::jthread sleeper([&] {
    ThreadWaiter me;
    list.add(me);
    woken = me.park(test::deadline());
    (void)me.leave(list);
    done = true;
  });
  test::Patience patience;
  while (!done && patience.another_turn()) {
    if (list.waiting() == 1) pthread_kill(sleeper.native_handle(), SIGUSR1);
  }
  sleeper.join();
  EXPECT_EQ(woken.load(), Wake::signal);
  sigaction(SIGUSR1, &before, nullptr);
}

/// An eventfd, and a pipe that tells of signals.
class SignalDescriptors {
 public:
  SignalDescriptors() : event_(eventfd(0, EFD_CLOEXEC)) {
    EXPECT_EQ(pipe2(pipe_, O_CLOEXEC | O_NONBLOCK), 0);
  }
  ~SignalDescriptors() {
    for (const int fd : {event_, pipe_[0], pipe_[1]}) close(fd);
  }
  SignalDescriptors(const SignalDescriptors&) = delete;
  SignalDescriptors& operator=(const SignalDescriptors&) = delete;
  [[nodiscard]] int event() const { return event_; }
  [[nodiscard]] int arrivals() const { return pipe_[0]; }
  void signal_arrives() const { EXPECT_EQ(write(pipe_[1], "x", 1), 1); }
  void take_arrival() const {
    char number = 0;
    EXPECT_EQ(read(pipe_[0], &number, 1), 1);
  }

 private:
  int event_;
  int pipe_[2]{};
};

TEST(ThreadWaiter, OnAnEventNoticesASignalThatCameBeforeItSlept) {
  const SignalDescriptors fds;
  WaitList list;
  ThreadWaiter me(fds.event(), fds.arrivals());
  list.add(me);
  fds.signal_arrives();
  EXPECT_EQ(me.park(test::deadline()), Wake::signal);
  fds.take_arrival();
  EXPECT_EQ(me.park(now_ns() + 1'000'000), Wake::timeout);
  EXPECT_FALSE(me.leave(list));
}

TEST(ThreadWaiter, OnAnEventNoticesASignalWhileItSleeps) {
  const SignalDescriptors fds;
  WaitList list;
  ThreadWaiter me(fds.event(), fds.arrivals());
  std::uint64_t const rounds = test::scaled(2'000);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const std::jthread other([&] { fds.signal_arrives(); });
    list.add(me);
    ASSERT_EQ(me.park(test::deadline()), Wake::signal);
    ASSERT_FALSE(me.leave(list));
    fds.take_arrival();
  }
}

TEST(ThreadWaiter, OnAnEventIsWokenLikeAnyOther) {
  const SignalDescriptors fds;
  WaitList list;
  ThreadWaiter me(fds.event(), fds.arrivals());
  std::uint64_t const rounds = test::scaled(20'000);
  std::jthread const notifier([&] {
    test::Patience patience;
    for (std::uint64_t round = 0; round < rounds; ++round) {
      while (list.waiting() == 0) ASSERT_TRUE(patience.another_turn());
      list.wake_one();
    }
    while (list.waiting() == 0) ASSERT_TRUE(patience.another_turn());
    me.interrupt();
  });
  for (std::uint64_t round = 0; round < rounds; ++round) {
    list.add(me);
    ASSERT_EQ(me.park(test::deadline()), Wake::fired);
    ASSERT_TRUE(me.leave(list));
  }
  list.add(me);
  EXPECT_EQ(me.park(test::deadline()), Wake::interrupted);
  EXPECT_FALSE(me.leave(list));
}

TEST(ThreadWaiter, SeesWhatTheNotifierDidBefore) {
  std::uint64_t const rounds = test::scaled(40'000);
  WaitList list;
  std::uint64_t plain = 0;  // Not atomic: ThreadSanitizer watches the edges.
  std::atomic<std::uint64_t> seen{0};
  std::jthread const notifier([&] {
    test::Patience patience;
    for (std::uint64_t round = 1; round <= rounds; ++round) {
      while (list.waiting() == 0 || seen.load(std::memory_order_acquire) != round - 1) {
        ASSERT_TRUE(patience.another_turn());
      }
      plain = round;
      list.wake_one();
    }
  });
  ThreadWaiter me;
  for (std::uint64_t round = 1; round <= rounds; ++round) {
    list.add(me);
    ASSERT_EQ(me.park(test::deadline()), Wake::fired);
    ASSERT_EQ(plain, round);
    ASSERT_TRUE(me.leave(list));
    seen.store(round, std::memory_order_release);
  }
}

}  // namespace
}  // namespace penstock
