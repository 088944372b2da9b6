// SPDX-License-Identifier: Apache-2.0
// A stream that processes share, and who reads it is the victim. (When the VM dies, which writes,
// so do they all.)
#include <gtest/gtest.h>

#include "stream_case.hpp"
#include "sweep.hpp"

namespace penstock::kill {
namespace {

/// `body(of)`: what happens around one victim.
template <class Body>
void sweep(const char* script, Body body) {
  Sweep(script).over(kAllWays, [&](Way way, const Target& target, auto tell) {
    StreamCase of(script, way, target);
    body(of);
    tell(of.report(), of.has_met());
  });
}

TEST(KillStream, WhoReads) {
  for (const char* const script : {"stream_read", "stream_read_retained"}) {
    sweep(script, [](StreamCase& of) {
      of.try_write(900);
      of.report().go = 3;
      of.live([] {});
      of.expect_rest();
    });
  }
}

/// For bytes that come in small pieces.
TEST(KillStream, WhoWaitsForBytes) {
  sweep("stream_wait", [](StreamCase& of) {
    of.report().go = 3;
    of.live([&] {
      if (of.is_reader_asleep() && of.written() < 300) of.try_write(30);
    });
    of.expect_rest();
  });
}

/// Lets the victim take its next step when the writer sleeps because there is no room, and so all
/// that is to be read is there.
void next_step(StreamCase& of) {
  Report& report = of.report();
  const bool is_full = of.is_writer_asleep() && of.written() == 4000 + report.go * 1500;
  if (is_full && report.go * 1500 == report.received) ++report.go;
}

/// And makes room, for which the writer waits; who is told at last that nobody reads.
TEST(KillStream, WhoMakesRoom) {
  sweep("stream_full", [](StreamCase& of) {
    of.try_write(4000);
    of.start_writer(5, 1500);
    of.live([&] { next_step(of); });
    of.expect_rest();
  });
}

/// And somebody else could go on.
TEST(KillStream, WhoHasAnHeir) {
  sweep("stream_full", [](StreamCase& of) {
    of.add_heir();
    of.try_write(4000);
    of.start_writer(5, 1500);
    of.live([&] { next_step(of); });
    of.expect_rest();
  });
}

TEST(KillStream, WhoTakesBytesAlong) {
  sweep("stream_aside", [](StreamCase& of) {
    of.report().go = 3;
    of.start_writer(12, 250);
    of.live([] {});
    of.expect_rest();
  });
}

TEST(KillStream, WhoCloses) {
  sweep("stream_close", [](StreamCase& of) {
    of.try_write(900);
    of.start_writer(3, 400);
    of.live([&] {
      if (of.is_writer_asleep()) of.report().go = 3;
    });
    of.expect_rest();
  });
}

}  // namespace
}  // namespace penstock::kill
