// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>

#include <algorithm>
#include <vector>

#include "reactor_case.hpp"

namespace penstock::io_uring {
namespace {

using test::deadline;
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

TEST_P(Readiness, EndOfThePeerIsAnEndAfterItsBytes) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    Pair pair;
    ASSERT_EQ(reactor->watch(pair.ours.get(), readable, trigger, &owners[0]), 0);
    pair.put("last");
    pair.peer = Fd();
    EXPECT_EQ(next(&owners[0]), readable | hung_up);
    EXPECT_EQ(pair.take(), "last");
    if (trigger == Trigger::level) {
      EXPECT_EQ(next(&owners[0]), readable | hung_up);
      EXPECT_EQ(next(&owners[0]), readable | hung_up);
    } else {
      expect_silence();
    }
    reactor->forget(pair.ours.get());
  }
}

TEST_P(Readiness, HalfCloseIsAnEndForReadersOnly) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    const Pair pair;
    pair.fill();
    ASSERT_EQ(reactor->watch(pair.ours.get(), writable, trigger, &owners[0]), 0);
    shutdown(pair.peer.get(), SHUT_WR);
    for (int round = 0; round < 3; ++round) {
      expect_silence();
      pair.drain_peer();
      EXPECT_EQ(next(&owners[0]), writable);
      pair.fill();
    }
    ASSERT_EQ(reactor->watch(pair.ours.get(), readable, trigger, &owners[0]), 0);
    EXPECT_EQ(next(&owners[0]), readable | hung_up);
    reactor->forget(pair.ours.get());
  }
}

TEST_P(Readiness, BrokenConnectionIsReportedToWriters) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    Pair pair;
    pair.fill();
    ASSERT_EQ(reactor->watch(pair.ours.get(), writable, trigger, &owners[0]), 0);
    expect_silence();
    pair.peer = Fd();
    EXPECT_EQ(next(&owners[0]), writable | hung_up);
    reactor->forget(pair.ours.get());
  }
}

TEST_P(Readiness, NothingIsReportedToWhoWantsNothing) {
  for (const Trigger trigger : {Trigger::level, Trigger::edge}) {
    Pair pair;
    ASSERT_EQ(reactor->watch(pair.ours.get(), 0, trigger, &owners[0]), 0);
    expect_silence();
    ASSERT_EQ(reactor->watch(pair.ours.get(), readable, trigger, &owners[0]), 0);
    expect_silence();
    ASSERT_EQ(reactor->watch(pair.ours.get(), 0, trigger, &owners[0]), 0);
    pair.put();
    expect_silence();
    pair.peer = Fd();
    expect_silence();
    ASSERT_EQ(reactor->watch(pair.ours.get(), readable, trigger, &owners[0]), 0);
    EXPECT_EQ(next(&owners[0]), readable | hung_up);
    reactor->forget(pair.ours.get());
  }
}

TEST_P(Readiness, InterestsReplaceOneAnother) {
  const Pair pair;
  pair.put();
  const int fd = pair.ours.get();
  ASSERT_EQ(reactor->watch(fd, writable, Trigger::level, &owners[0]), 0);
  EXPECT_EQ(next(&owners[0]), writable);
  ASSERT_EQ(reactor->watch(fd, readable, Trigger::level, &owners[1]), 0);
  EXPECT_EQ(next(&owners[1]), readable);
  EXPECT_EQ(pair.take(), "x");
  expect_silence();
  ASSERT_EQ(reactor->watch(fd, readable | writable, Trigger::edge, &owners[2]), 0);
  EXPECT_EQ(next(&owners[2]), writable);
  expect_silence();
  ASSERT_EQ(reactor->watch(fd, readable, Trigger::edge, &owners[3]), 0);
  expect_silence();
  pair.put();
  EXPECT_EQ(next(&owners[3]), readable);
}

TEST_P(Readiness, EventLosesItsOwnerWithTheWatch) {
  const Pair pairs[4];
  for (int i = 0; i < 4; ++i) {
    pairs[i].put();
    ASSERT_EQ(reactor->watch(pairs[i].ours.get(), readable, Trigger::level, &owners[i]), 0);
  }
  std::int64_t const until = deadline();
  std::span<const Event> events;
  while (events.size() != 4 && now_ns() < until) events = wait();
  ASSERT_EQ(events.size(), 4U);
  reactor->forget(pairs[0].ours.get());
  ASSERT_EQ(reactor->watch(pairs[1].ours.get(), readable, Trigger::level, &owners[0]), 0);
  ASSERT_EQ(reactor->watch(pairs[2].ours.get(), writable, Trigger::level, &owners[2]), 0);
  int left = 0;
  for (const Event& event : events) {
    if (event.owner == nullptr) continue;
    EXPECT_EQ(event.owner, &owners[3]);
    ++left;
  }
  EXPECT_EQ(left, 1);
}

TEST_P(Readiness, PollMakesOutAllThatIsReady) {
  constexpr std::size_t count = 3 * WatchTable::kBatch + 1;
  for (const Trigger trigger : {Trigger::edge, Trigger::level}) {
    std::vector<Pair> pairs(count);
    std::vector<int> seen(count, 0);
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_EQ(reactor->watch(pairs[i].ours.get(), readable, trigger, &seen[i]), 0);
    }
    expect_silence();
    for (const Pair& pair : pairs) pair.put();
    std::size_t total = 0;
    for (std::int64_t const until = deadline(); total < count && now_ns() < until;) {
      for (const Event& event : reactor->poll()) {
        if (++*static_cast<int*>(event.owner) == 1) ++total;
      }
    }
    EXPECT_EQ(total, count);
    // Twice where the kernel had no room to keep it.
    if (trigger == Trigger::edge) {
      EXPECT_LE(*std::max_element(seen.begin(), seen.end()), 2);
    }
    for (const Pair& pair : pairs) reactor->forget(pair.ours.get());
  }
}

TEST_P(Readiness, ConnectsAndAccepts) {
  const Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener.get(), 8), 0);
  ASSERT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  ASSERT_EQ(reactor->watch(listener.get(), readable, Trigger::level, &owners[0]), 0);
  expect_silence();
  const Fd client(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  if (connect(client.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) {
    ASSERT_EQ(errno, EINPROGRESS);
  }
  ASSERT_EQ(reactor->watch(client.get(), writable, Trigger::level, &owners[1]), 0);
  EXPECT_EQ(next(&owners[1]), writable);
  EXPECT_EQ(next(&owners[0]), readable);
  const Fd accepted(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK));
  EXPECT_TRUE(accepted);
}

}  // namespace
}  // namespace penstock::io_uring
