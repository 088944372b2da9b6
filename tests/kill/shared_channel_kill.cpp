// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "shared_channel_case.hpp"

namespace penstock::kill {
namespace {

/// `body(of)`: what happens around one victim.
template <class Body>
void sweep(const char* script, Body body) {
  Sweep(script).over(kAllWays, [&](Way way, const Target& target, auto tell) {
    SharedChannelCase of(script, way, target);
    body(of);
    tell(of.report(), of.has_met());
  });
}

/// Lets the victim take its next step when all who receive sleep: then it has to call one.
void next_step(SharedChannelCase& of, unsigned receivers) {
  Report& report = of.report();
  if (of.receivers_asleep() == receivers && report.go == report.sent) ++report.go;
}

TEST(KillSharedChannel, WhoSends) {
  sweep("send", [](SharedChannelCase& of) {
    of.start_receivers(2);
    of.live([&] { next_step(of, 2); });
    of.expect_flow();
    of.expect_each_once();
  });
}

TEST(KillSharedChannel, WhoSendsLargeMessages) {
  sweep("send_large", [](SharedChannelCase& of) {
    of.start_receivers(1);
    of.live([&] { next_step(of, 1); });
    of.expect_flow();
    of.expect_each_once();
  });
}

/// Beside somebody else who waits for room.
TEST(KillSharedChannel, WhoWaitsForRoom) {
  sweep("send_full", [](SharedChannelCase& of) {
    of.fill(1000);
    of.start_sender(3, 1000);
    of.report().go = 3;
    of.live([&] {
      if (of.on(0).space_waiters().waiting() >= (of.is_sending() ? 2U : 1U)) of.try_receive(0);
    });
    of.expect_flow();
    of.expect_each_once();
  });
}

/// Nobody else could send.
TEST(KillSharedChannel, TheLastWhoCouldSend) {
  sweep("send_last", [](SharedChannelCase& of) {
    of.start_receivers(2);
    bool is_last = false;
    of.live([&] {
      if (of.report().sent == 1 && !is_last) {
        is_last = true;
        of.on(1).remove_sender();
      }
      next_step(of, 2);
    });
    if (!is_last) of.on(1).remove_sender();
    of.expect_end();
    of.expect_each_once();
  });
}

TEST(KillSharedChannel, WhoCloses) {
  sweep("close", [](SharedChannelCase& of) {
    of.start_receivers(2);
    of.live([&] {
      if (of.receivers_asleep() == 2 && of.report().go == of.report().begun) ++of.report().go;
    });
    of.on(0).is_closed() ? of.expect_end() : of.expect_flow();
    of.expect_each_once();
  });
}

TEST(KillSharedChannel, WhoReceives) {
  sweep("receive", [](SharedChannelCase& of) {
    of.fill(700);
    of.report().go = 3;
    of.live([] {});
    of.expect_flow();
    of.expect_each_once();
  });
}

TEST(KillSharedChannel, WhoReceivesLargeMessages) {
  sweep("receive_large", [](SharedChannelCase& of) {
    of.fill(120'000);
    of.report().go = 3;
    of.live([&] { of.try_send(1, 120'000); });
    of.expect_flow();
    of.expect_each_once();
  });
}

/// And makes room, for which somebody else waits.
TEST(KillSharedChannel, WhoMakesRoom) {
  sweep("receive_full", [](SharedChannelCase& of) {
    of.fill(1000);
    of.start_sender(3, 1000);
    of.live([&] {
      Report& report = of.report();
      const bool is_asleep = of.on(1).space_waiters().waiting_near() == 1;
      if ((is_asleep || !of.is_sending()) && report.go == report.received) ++report.go;
    });
    std::uint64_t const room = of.report().received;
    EXPECT_TRUE(eventually([&] { return of.sent(1) >= room; })) << "there is room";
    of.expect_flow();
    of.expect_each_once();
  });
}

/// Messages where they lie, which nobody may overwrite meanwhile; their room is given back at last.
TEST(KillSharedChannel, WhoReadsInPlace) {
  sweep("receive_in_place", [](SharedChannelCase& of) {
    of.fill(10'000);
    of.start_sender(4, 10'000);
    of.live([&] {
      Report& report = of.report();
      const bool is_asleep = of.on(1).space_waiters().waiting_near() == 1;
      if ((is_asleep || report.go > 0) && report.go == report.received) ++report.go;
    });
    of.expect_flow();
    of.expect_each_once();
  });
}

/// Beside somebody else who waits for messages.
TEST(KillSharedChannel, WhoWaitsForMessages) {
  sweep("receive_asleep", [](SharedChannelCase& of) {
    of.start_receivers(1);
    of.report().go = 3;
    of.live([&] {
      if (of.receivers_asleep() == 1 && of.on(0).data_waiters().waiting() == 2) of.try_send(0, 100);
    });
    of.expect_flow();
    of.expect_each_once();
  });
}

}  // namespace
}  // namespace penstock::kill
