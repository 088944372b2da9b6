// SPDX-License-Identifier: Apache-2.0
#include "reactor_case.hpp"

namespace penstock::io_uring {
namespace {

using test::Pair;

class Readiness : public test::OnEach {};
PENSTOCK_ON_EACH_BACKEND(Readiness);

TEST_P(Readiness, LevelReportsAsLongAsThereIsSomething) {
  const Pair pair;
  ASSERT_EQ(reactor->watch(pair.ours.get(), readable, Trigger::level, &owners[0]), 0);
  expect_silence();
  pair.put("abc");
  EXPECT_EQ(next(&owners[0]), readable);
  EXPECT_EQ(next(&owners[0]), readable);
  EXPECT_EQ(pair.take(1), "a");
  EXPECT_EQ(next(&owners[0]), readable);
  EXPECT_EQ(pair.take(), "bc");
  expect_silence();
  pair.put();
  EXPECT_EQ(next(&owners[0]), readable);
}

TEST_P(Readiness, EdgeReportsWhatIsNew) {
  const Pair pair;
  ASSERT_EQ(reactor->watch(pair.ours.get(), readable, Trigger::edge, &owners[0]), 0);
  expect_silence();
  pair.put();
  EXPECT_EQ(next(&owners[0]), readable);
  expect_silence();
  pair.put();
  EXPECT_EQ(next(&owners[0]), readable);
  expect_silence();
  EXPECT_EQ(pair.take(), "xx");
  expect_silence();
}

TEST_P(Readiness, WatchReportsWhatIsReadyAlready) {
  const Pair pair;
  pair.put();
  for (const Trigger trigger : {Trigger::level, Trigger::edge, Trigger::edge, Trigger::level}) {
    ASSERT_EQ(reactor->watch(pair.ours.get(), readable, trigger, &owners[0]), 0);
    EXPECT_EQ(next(&owners[0]), readable);
  }
}

TEST_P(Readiness, WritableWhenThereIsRoom) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    const Pair pair;
    ASSERT_EQ(reactor->watch(pair.ours.get(), writable, trigger, &owners[0]), 0);
    EXPECT_EQ(next(&owners[0]), writable);
    pair.fill();
    reactor->forget(pair.ours.get());
    ASSERT_EQ(reactor->watch(pair.ours.get(), writable, trigger, &owners[0]), 0);
    expect_silence();
    pair.drain_peer();
    EXPECT_EQ(next(&owners[0]), writable);
    reactor->forget(pair.ours.get());
  }
}

TEST_P(Readiness, BothDirectionsInOneEvent) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    const Pair pair;
    pair.put();
    ASSERT_EQ(reactor->watch(pair.ours.get(), readable | writable, trigger, &owners[0]), 0);
    EXPECT_EQ(next(&owners[0]), readable | writable);
    reactor->forget(pair.ours.get());
  }
}

}  // namespace
}  // namespace penstock::io_uring
