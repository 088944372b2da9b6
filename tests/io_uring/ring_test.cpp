// SPDX-License-Identifier: Apache-2.0
// What only io_uring has: queues that are full, and rings that are used again.
#include "ring.hpp"

#include <poll.h>

#include <thread>
#include <vector>

#include "reactor_case.hpp"

namespace penstock::io_uring {
namespace {

using test::deadline;
using test::Pair;

/// Rings of 8 requests and 16 completions.
class SmallRing : public testing::TestWithParam<Ring::Mode> {
 protected:
  void SetUp() override { ASSERT_NE(reactor, nullptr); }
  std::unique_ptr<UringReactor> reactor =
      UringReactor::create({.submissions = 8, .completions = 16, .best = GetParam()});
};
INSTANTIATE_TEST_SUITE_P(Mode, SmallRing,
                         testing::Values(Ring::Mode::deferred, Ring::Mode::cooperative,
                                         Ring::Mode::plain));

TEST_P(SmallRing, LosesNoEvent) {
  constexpr std::size_t count = 500;
  for (const Trigger trigger : {Trigger::edge, Trigger::level}) {
    std::vector<Pair> pairs(count);
    std::vector<int> seen(count, 0);
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_EQ(reactor->watch(pairs[i].ours.get(), readable, trigger, &seen[i]), 0);
    }
    for (int round = 1; round <= 5; ++round) {
      ASSERT_TRUE(reactor->poll().empty());
      for (const Pair& pair : pairs) pair.put();
      std::size_t total = 0;
      for (std::int64_t const until = deadline(); total < count && now_ns() < until;) {
        reactor->prepare_to_wait();
        for (const Event& event : reactor->wait(until)) {
          int& times = *static_cast<int*>(event.owner);
          if (times < round) ++total;
          times = round;
        }
        reactor->after_wait();
      }
      ASSERT_EQ(total, count);
      for (const Pair& pair : pairs) EXPECT_EQ(pair.take(), "x");
      // What was told twice, and levels that were asked for again before the bytes were taken.
      for (int i = 0; i < 10; ++i) (void)reactor->poll();
    }
    for (const Pair& pair : pairs) reactor->forget(pair.ours.get());
  }
  EXPECT_EQ(reactor->backend(), Backend::io_uring);
}

TEST_P(SmallRing, ForgetsAmongMany) {
  constexpr std::size_t count = 200;
  for (const Trigger trigger : {Trigger::edge, Trigger::level}) {
    std::vector<Pair> pairs(count);
    int owner = 0;
    for (const Pair& pair : pairs) {
      ASSERT_EQ(reactor->watch(pair.ours.get(), readable, trigger, &owner), 0);
    }
    ASSERT_TRUE(reactor->poll().empty());
    for (const Pair& pair : pairs) pair.put();
    for (Pair& pair : pairs) {
      (void)pair.take();
      reactor->forget(pair.ours.get());
      pair.ours = Fd();
      char byte = 0;
      EXPECT_EQ(recv(pair.peer.get(), &byte, 1, MSG_DONTWAIT), 0);
    }
    EXPECT_TRUE(reactor->poll().empty());
  }
}

TEST_P(SmallRing, ChangesItsMindAboutMany) {
  constexpr std::size_t count = 100;
  std::vector<Pair> pairs(count);
  std::vector<int> seen(count, 0);
  for (int round = 0; round < 20; ++round) {
    const Trigger trigger = round % 3 == 0 ? Trigger::level : Trigger::edge;
    const Interest interest = round % 2 == 0 ? readable : writable;
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_EQ(reactor->watch(pairs[i].ours.get(), interest, trigger, &seen[i]), 0);
    }
    std::size_t total = 0;
    for (int turn = 0; turn < 100; ++turn) {
      for (const Event& event : reactor->poll()) {
        ASSERT_EQ(event.what, writable);
        int& times = *static_cast<int*>(event.owner);
        if (times < round) ++total;
        times = round;
      }
    }
    ASSERT_EQ(total, interest == writable ? count : 0);
  }
}

TEST(Ring, AnotherThreadsIsNotReused) {
  ASSERT_EQ(Ring::probe(), 0);
  std::unique_ptr<Ring> ring = Ring::take({});
  ASSERT_NE(ring, nullptr);
  ASSERT_TRUE(ring->claim());
  Ring::give_back(std::move(ring));
  std::jthread([&] {
    std::unique_ptr<Ring> const other = Ring::take({});
    ASSERT_NE(other, nullptr);
    EXPECT_FALSE(other->is_claimed());
  }).join();
  ring = Ring::take({.completions = 512});
  EXPECT_FALSE(ring->is_claimed());
  ring = Ring::take({});
  EXPECT_FALSE(ring->is_claimed());
  ASSERT_TRUE(ring->claim());
  Ring::give_back(std::move(ring));
  ring = Ring::take({});
  EXPECT_TRUE(ring->is_mine());
}

TEST(Ring, RequestThatIsNotSubmittedCanBeTakenBack) {
  for (const Ring::Mode mode : {Ring::Mode::deferred, Ring::Mode::cooperative, Ring::Mode::plain}) {
    std::unique_ptr<Ring> ring = Ring::take({.best = mode});
    ASSERT_NE(ring, nullptr);
    EXPECT_EQ(ring->mode(), mode);
    ASSERT_TRUE(ring->claim());
    Pair pair;
    for (std::uint64_t tag = 1; tag <= 2; ++tag) {
      io_uring_sqe* const sqe = ring->submission();
      io_uring_prep_poll_add(sqe, pair.ours.get(), POLLIN);
      sqe->user_data = tag;
    }
    EXPECT_EQ(ring->pending(), 2U);
    EXPECT_TRUE(ring->retract(1));
    EXPECT_FALSE(ring->retract(1));
    EXPECT_FALSE(ring->retract(3));
    pair.put();
    std::vector<std::uint64_t> tags;
    std::int64_t const until = deadline();
    while (tags.size() < 2 && now_ns() < until) {
      ring->enter(1, 1'000'000'000);
      ring->reap([&](const io_uring_cqe& cqe) {
        tags.push_back(cqe.user_data);
        return true;
      });
    }
    EXPECT_EQ(tags, (std::vector<std::uint64_t>{Ring::kIgnoredTag, 2}));
    EXPECT_EQ(ring->pending(), 0U);
    EXPECT_EQ(ring->error(), 0);
  }
}

TEST(Ring, KeepsAnErrorThatWillNotPass) {
  std::unique_ptr<Ring> ring = Ring::take({});
  ASSERT_NE(ring, nullptr);
  ASSERT_TRUE(ring->claim());
  std::jthread([&] {
    EXPECT_FALSE(ring->is_mine());
    ring->enter(0);
    EXPECT_EQ(ring->error(), ring->mode() == Ring::Mode::deferred ? EEXIST : 0);
  }).join();
}

}  // namespace
}  // namespace penstock::io_uring
