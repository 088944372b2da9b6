// SPDX-License-Identifier: Apache-2.0
// The end of descriptors: forgotten, closed without a word, numbers that come back.
#include <sys/eventfd.h>

#include <filesystem>
#include <vector>

#include "reactor_case.hpp"

namespace penstock::io_uring {
namespace {

using test::deadline;
using test::Pair;
using test::scaled;

std::ptrdiff_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

/// Whether the peer of a closed socket sees the end, now.
bool sees_the_end(int peer) {
  char byte = 0;
  return recv(peer, &byte, 1, MSG_DONTWAIT) == 0;
}

class Closing : public test::OnEach {};
PENSTOCK_ON_EACH_BACKEND(Closing);

TEST_P(Closing, PeerSeesTheEndAtOnce) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    for (const Interest interest : {readable, writable, Interest{readable | writable}}) {
      Pair pair;
      pair.fill();
      pair.drain_peer();
      ASSERT_EQ(reactor->watch(pair.ours.get(), interest, trigger, &owners[0]), 0);
      wait(1'000'000);
      reactor->forget(pair.ours.get());
      pair.ours = Fd();
      EXPECT_TRUE(sees_the_end(pair.peer.get()));
    }
  }
}

TEST_P(Closing, PeerSeesTheEndAfterAChangeOfInterest) {
  Pair pair;
  ASSERT_EQ(reactor->watch(pair.ours.get(), readable, Trigger::edge, &owners[0]), 0);
  expect_silence();
  ASSERT_EQ(reactor->watch(pair.ours.get(), 0, Trigger::edge, &owners[0]), 0);
  reactor->forget(pair.ours.get());
  pair.ours = Fd();
  EXPECT_TRUE(sees_the_end(pair.peer.get()));
}

TEST_P(Closing, PeerSeesTheEndWhileEventsAreOnTheirWay) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    std::vector<Pair> pairs(100);
    std::vector<int> seen(pairs.size(), 0);
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      ASSERT_EQ(reactor->watch(pairs[i].ours.get(), readable, trigger, &seen[i]), 0);
    }
    expect_silence();
    for (const Pair& pair : pairs) pair.put();
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      EXPECT_EQ(pairs[i].take(), "x");  // Else the peer is told that bytes were lost.
      reactor->forget(pairs[i].ours.get());
      pairs[i].ours = Fd();
      EXPECT_TRUE(sees_the_end(pairs[i].peer.get()));
    }
    std::size_t total = 0;
    for (std::int64_t const until = deadline(); total < pairs.size() / 2 && now_ns() < until;) {
      for (const Event& event : wait()) {
        if (++*static_cast<int*>(event.owner) == 1) ++total;
      }
    }
    for (std::size_t i = 0; i < pairs.size(); ++i) EXPECT_EQ(seen[i] > 0, i % 2 == 1) << i;
    for (const Pair& pair : pairs) reactor->forget(pair.ours.get());
  }
}

TEST_P(Closing, NumberThatComesBackIsTheNewOwners) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    Pair old;
    const int number = old.ours.get();
    const Fd copy(dup(number));  // Keeps it open.
    ASSERT_EQ(reactor->watch(number, readable, trigger, &owners[0]), 0);
    expect_silence();
    Pair fresh;
    ASSERT_EQ(dup2(fresh.ours.get(), number), number);  // As by close() and socket().
    ASSERT_EQ(reactor->watch(number, readable, trigger, &owners[1]), 0);
    old.put();
    expect_silence();
    fresh.put();
    EXPECT_EQ(next(&owners[1]), readable);
    reactor->forget(number);
    fresh.put();
    expect_silence();
  }
}

TEST_P(Closing, ClosedWithoutAWordDoesNoHarm) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    Pair pair;
    const int number = pair.ours.get();
    ASSERT_EQ(reactor->watch(number, readable, trigger, &owners[0]), 0);
    expect_silence();
    pair.ours = Fd();
    expect_silence();
    EXPECT_EQ(reactor->watch(number, readable, trigger, &owners[0]), EBADF);
    EXPECT_TRUE(sees_the_end(pair.peer.get()));
    reactor->forget(number);
    expect_silence();
  }
}

TEST_P(Closing, WhatCannotBeWatchedIsRefused) {
  EXPECT_EQ(reactor->watch(-1, readable, Trigger::level, &owners[0]), EBADF);
  EXPECT_EQ(reactor->watch(1'000'000'000, readable, Trigger::level, &owners[0]), EBADF);
  const Fd file(open("/proc/self/exe", O_RDONLY));
  EXPECT_EQ(reactor->watch(file.get(), readable, Trigger::level, &owners[0]), EPERM);
  const Fd folder(open("/", O_RDONLY | O_DIRECTORY));
  EXPECT_EQ(reactor->watch(folder.get(), readable, Trigger::edge, &owners[0]), EPERM);
  const Fd null(open("/dev/null", O_RDWR));
  EXPECT_EQ(reactor->watch(null.get(), writable, Trigger::level, &owners[0]), EPERM);
  expect_silence();
  reactor->forget(file.get());
  reactor->forget(-1);
  reactor->forget(1'000'000'000);
  // A watch that is refused leaves nothing of the one before.
  Pair pair;
  ASSERT_EQ(reactor->watch(pair.ours.get(), readable, Trigger::level, &owners[0]), 0);
  expect_silence();
  ASSERT_EQ(dup2(file.get(), pair.ours.get()), pair.ours.get());
  EXPECT_EQ(reactor->watch(pair.ours.get(), readable, Trigger::level, &owners[0]), EPERM);
  EXPECT_TRUE(sees_the_end(pair.peer.get()));
  expect_silence();
}

TEST_P(Closing, PipesAndEventsCanBeWatched) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
  const Fd out(ends[0]);
  Fd in(ends[1]);
  const Fd event(eventfd(0, EFD_NONBLOCK));
  ASSERT_EQ(reactor->watch(out.get(), readable, Trigger::level, &owners[0]), 0);
  ASSERT_EQ(reactor->watch(event.get(), readable, Trigger::level, &owners[1]), 0);
  expect_silence();
  ASSERT_EQ(write(in.get(), "x", 1), 1);
  EXPECT_EQ(next(&owners[0]), readable);
  reactor->forget(out.get());
  eventfd_write(event.get(), 1);
  EXPECT_EQ(next(&owners[1]), readable);
  in = Fd();
  ASSERT_EQ(reactor->watch(out.get(), readable, Trigger::edge, &owners[2]), 0);
  EXPECT_EQ(next(&owners[2]), readable | hung_up);
}

/// Connections come and go, a hundred at a time, and nothing is left of them.
TEST_P(Closing, ThousandsOfConnectionsComeAndGo) {
  wait(1'000);
  std::ptrdiff_t const before = open_descriptors();
  std::uint64_t const rounds = scaled(10'000) / 100;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const Trigger trigger = round % 2 == 0 ? Trigger::level : Trigger::edge;
    std::vector<Pair> pairs(100);
    std::vector<int> seen(pairs.size(), 0);
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      ASSERT_EQ(reactor->watch(pairs[i].ours.get(), readable, trigger, &seen[i]), 0);
      if (i % 3 != 0) pairs[i].put();
    }
    std::size_t total = 0;
    for (std::int64_t const until = deadline(); total < 66 && now_ns() < until;) {
      for (const Event& event : wait()) {
        ASSERT_EQ(event.what, readable);
        if (++*static_cast<int*>(event.owner) == 1) ++total;
      }
    }
    ASSERT_EQ(total, 66U);
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      ASSERT_EQ(seen[i] > 0, i % 3 != 0);
      (void)pairs[i].take();
      reactor->forget(pairs[i].ours.get());
      pairs[i].ours = Fd();
      ASSERT_TRUE(sees_the_end(pairs[i].peer.get()));
    }
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST_P(Closing, ReactorThatEndsLetsGoOfAll) {
  Pair pairs[3];
  for (int i = 0; i < 3; ++i) {
    const Trigger trigger = i == 0 ? Trigger::level : Trigger::edge;
    ASSERT_EQ(reactor->watch(pairs[i].ours.get(), readable, trigger, &owners[i]), 0);
  }
  pairs[2].put();
  EXPECT_EQ(next(&owners[2]), readable);
  reactor = nullptr;
  EXPECT_EQ(pairs[2].take(), "x");
  for (Pair& pair : pairs) {
    pair.ours = Fd();
    EXPECT_TRUE(sees_the_end(pair.peer.get()));
  }
}

TEST_P(Closing, ThousandsOfReactorsComeAndGo) {
  const Pair pair;
  pair.put();
  reactor = nullptr;
  for (std::uint64_t i = 0; i < scaled(2000); ++i) {
    reactor = test::make(GetParam());
    ASSERT_NE(reactor, nullptr);
    ASSERT_EQ(reactor->backend(), expected());
    ASSERT_EQ(reactor->watch(pair.ours.get(), readable, Trigger::edge, &owners[i % 4]), 0);
    ASSERT_EQ(next(&owners[i % 4]), readable);
    reactor = nullptr;
  }
}

}  // namespace
}  // namespace penstock::io_uring
