// SPDX-License-Identifier: Apache-2.0
// Reactors whose thread or process changes.
#include <sys/wait.h>

#include <thread>

#include "reactor_case.hpp"

namespace penstock::io_uring {
namespace {

using test::deadline;
using test::in_child;
using test::Pair;

class Processes : public test::OnEach {};
PENSTOCK_ON_EACH_BACKEND(Processes);

TEST_P(Processes, ThreadsTakeTurns) {
  const Pair level;
  const Pair edge;
  ASSERT_EQ(reactor->watch(level.ours.get(), readable, Trigger::level, &owners[0]), 0);
  ASSERT_EQ(reactor->watch(edge.ours.get(), readable, Trigger::edge, &owners[1]), 0);
  const auto turn = [&] {
    level.put();
    EXPECT_EQ(next(&owners[0]), readable);
    (void)level.take();
    edge.put();
    EXPECT_EQ(next(&owners[1]), readable);
    (void)edge.take();
    Pair other;
    ASSERT_EQ(reactor->watch(other.ours.get(), readable, Trigger::level, &owners[2]), 0);
    expect_silence();
    reactor->forget(other.ours.get());
    other.ours = Fd();
    char byte = 0;
    EXPECT_EQ(recv(other.peer.get(), &byte, 1, MSG_DONTWAIT), 0);
  };
  for (int i = 0; i < 5; ++i) {
    std::jthread(turn).join();
    turn();
  }
  EXPECT_EQ(reactor->backend(), expected());
}

TEST_P(Processes, WakeReachesTheThreadThatWaits) {
  for (int i = 0; i < 3; ++i) {
    std::jthread([&] {
      reactor->prepare_to_wait();
      std::jthread const other([&] { reactor->wake(); });
      std::int64_t const until = deadline();
      EXPECT_TRUE(reactor->wait(until).empty());
      reactor->after_wait();
      EXPECT_LT(now_ns(), until);
    }).join();
  }
}

TEST_P(Processes, ForgottenByAnotherThread) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    Pair pair;
    ASSERT_EQ(reactor->watch(pair.ours.get(), readable, trigger, &owners[0]), 0);
    expect_silence();
    std::jthread([&] {
      reactor->forget(pair.ours.get());
      pair.ours = Fd();
    }).join();
    char byte = 0;
    std::int64_t const until = deadline();
    while (recv(pair.peer.get(), &byte, 1, MSG_DONTWAIT) != 0 && now_ns() < until) spin_pause(64);
    EXPECT_LT(now_ns(), until);
    expect_silence();
  }
}

/// While the loop's thread sleeps, as a thread with the GIL may do.
TEST_P(Processes, WatchedAndForgottenByAnotherThreadMeanwhile) {
  std::atomic<int> told{-1};
  std::atomic<bool> over{false};
  std::jthread const loop([&] {
    while (!over) {
      reactor->prepare_to_wait();
      const std::span<const Event> events =
          over ? std::span<const Event>() : reactor->wait(Reactor::no_deadline);
      reactor->after_wait();
      // Without a lock around them the events may not be looked at.
      if (!events.empty()) told = static_cast<int>(events.size());
    }
  });
  const auto comes_true = [](auto condition) {
    std::int64_t const until = deadline();
    while (!condition() && now_ns() < until) spin_pause(64);
    return condition();
  };
  for (int round = 0; round < 300; ++round) {
    const Trigger trigger = round % 2 == 0 ? Trigger::level : Trigger::edge;
    Pair pair;
    ASSERT_EQ(reactor->watch(pair.ours.get(), readable, trigger, &owners[0]), 0);
    if (round % 3 != 0) {
      told = -1;
      pair.put();
      ASSERT_TRUE(comes_true([&] { return told == 1; }));
      (void)pair.take();
    }
    reactor->forget(pair.ours.get());
    pair.ours = Fd();
    char byte = 0;
    ASSERT_TRUE(comes_true([&] { return recv(pair.peer.get(), &byte, 1, MSG_DONTWAIT) == 0; }));
  }
  EXPECT_EQ(reactor->backend(), expected());
  over = true;
  reactor->wake();
}

TEST_P(Processes, EndedByAnotherThread) {
  Pair pair;
  ASSERT_EQ(reactor->watch(pair.ours.get(), readable, Trigger::edge, &owners[0]), 0);
  expect_silence();
  std::jthread([&] { reactor = nullptr; }).join();
}

TEST_P(Processes, ChildGoesOnAlone) {
  const Pair level;
  const Pair edge;
  ASSERT_EQ(reactor->watch(level.ours.get(), readable, Trigger::level, &owners[0]), 0);
  ASSERT_EQ(reactor->watch(edge.ours.get(), readable, Trigger::edge, &owners[1]), 0);
  expect_silence();
  const auto serves = [&] {
    Pair own;
    EXPECT_EQ(reactor->watch(own.ours.get(), readable, Trigger::edge, &owners[2]), 0);
    own.put();
    EXPECT_EQ(next(&owners[2]), readable);
    level.put();
    EXPECT_EQ(next(&owners[0]), readable);
    (void)level.take();
    edge.put();
    EXPECT_EQ(next(&owners[1]), readable);
    (void)edge.take();
    reactor->forget(own.ours.get());
    return reactor->backend() == expected();
  };
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(in_child(serves));
    EXPECT_TRUE(serves());
  }
}

TEST_P(Processes, ChildWakesItselfOnly) {
  EXPECT_TRUE(wait(1'000).empty());
  // The parent's wait may end for no reason (the kernel's work for a ring of another test), now and
  // then. If children woke it, it would end early each time.
  bool has_slept_on = false;
  for (int round = 0; round < 20 && !has_slept_on; ++round) {
    reactor->prepare_to_wait();
    EXPECT_TRUE(in_child([&] {
      std::int64_t const until = deadline();
      reactor->prepare_to_wait();
      reactor->wake();
      EXPECT_TRUE(reactor->wait(until).empty());
      reactor->after_wait();
      return now_ns() < until;
    }));
    std::int64_t const until = now_ns() + 20'000'000;
    EXPECT_TRUE(reactor->wait(until).empty());
    reactor->after_wait();
    has_slept_on = now_ns() >= until;
  }
  EXPECT_TRUE(has_slept_on);
}

TEST_P(Processes, ChildThatEndsItDoesNotDisturbTheParent) {
  const Pair pair;
  ASSERT_EQ(reactor->watch(pair.ours.get(), readable, Trigger::edge, &owners[0]), 0);
  expect_silence();
  EXPECT_TRUE(in_child([&] {
    reactor->forget(pair.ours.get());
    reactor = nullptr;
    reactor = test::make(GetParam());
    EXPECT_EQ(reactor->watch(pair.ours.get(), writable, Trigger::edge, &owners[1]), 0);
    return next(&owners[1]) == writable;
  }));
  EXPECT_TRUE(in_child([&] {
    reactor = nullptr;
    return true;
  }));
  pair.put();
  EXPECT_EQ(next(&owners[0]), readable);
}

/// Without a say of its own: what it has of the parent's ring is not to keep sockets open.
TEST_P(Processes, ChildThatDoesNothingKeepsNothing) {
  Pair pair;
  ASSERT_EQ(reactor->watch(pair.ours.get(), readable, Trigger::edge, &owners[0]), 0);
  expect_silence();
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Fd out(ends[0]);
  Fd in(ends[1]);
  const pid_t child = fork();
  if (child == 0) {
    close(in.get());
    close(pair.ours.get());
    close(pair.peer.get());
    char byte = 0;
    _exit(read(out.get(), &byte, 1) == 0 ? 0 : 1);
  }
  reactor = nullptr;
  pair.ours = Fd();
  // The child may still have to close its copies.
  char byte = 0;
  std::int64_t const until = deadline();
  while (recv(pair.peer.get(), &byte, 1, MSG_DONTWAIT) != 0 && now_ns() < until) spin_pause(64);
  EXPECT_LT(now_ns(), until);
  in = Fd();
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace penstock::io_uring
