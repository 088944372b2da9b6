// SPDX-License-Identifier: Apache-2.0
#include "link_victim.hpp"

#include <sched.h>
#include <unistd.h>

#include <thread>

#include "hook.hpp"
#include "penstock/link.hpp"
#include "victim.hpp"

namespace penstock::kill {

namespace {

void note_failure(Report& report) { report.failures.fetch_add(1); }

void note_received(Report& report, std::uint64_t index, const Message& frame) {
  report.numbers[index] = read(frame);
  report.received.store(index + 1);
}

/// Whoever receives also moves on what found no room.
void send(Link& link, Report& report) {
  std::thread([&link] {
    Message frame;
    while (link.receive(frame, kNoDeadline) != Status::closed) frame.clear();
  }).detach();
  for (std::uint64_t index = 0; index < kLinkFrames; ++index) {
    Message frame;
    if (!write(frame, number_of(kVictim, index), link_frame_size(index))) note_failure(report);
    report.begun.store(index + 1);
    if (link.send(frame) != Status::ok) note_failure(report);
    while (!link.is_idle()) sched_yield();
    report.sent.store(index + 1);
  }
}

void receive(Link& link, Report& report) {
  for (std::uint64_t index = 0; index < kLinkFrames; ++index) {
    Message frame;
    Status status = Status::empty;
    while (status == Status::empty) status = link.receive(frame, kNoDeadline);
    if (status != Status::ok) note_failure(report);
    note_received(report, index, frame);
  }
}

/// Beside a listener, which takes what is too long to be taken here.
void look(Link& link, Report& report) {
  std::thread([&] {
    Message frame;  // May hold a part of one.
    for (;;) {
      const Status status = link.receive(frame, kNoDeadline);
      if (status == Status::closed) return;
      if (status != Status::ok) continue;
      note_received(report, report.received.load(), frame);
      frame.clear();
    }
  }).detach();
  while (report.received.load() < kLinkFrames) {
    Link::Look look(link);
    if (!look) {
      sched_yield();
      continue;
    }
    Message frame;
    const Status status = look.take(frame, 4096);
    if (status == Status::ok) {
      note_received(report, report.received.load(), frame);
    } else if (status != Status::empty) {
      note_failure(report);
    } else if (look && look.lie_down()) {
      look.park();
    }
  }
}

}  // namespace

void link_victim(std::string_view script, Report& report, const Target& target, Fate fate) {
  Segment segment = Segment::attach(kFirstDescriptor, Link::bytes());
  const Ref<Link> link = Link::create(std::move(segment), kSecondDescriptor, Link::Side::worker);
  arm(report, target, fate);
  if (script == "link_send") send(*link, report);
  if (script == "link_receive") receive(*link, report);
  if (script == "link_look") look(*link, report);
  _exit(report.failures.load() == 0 ? 0 : 1);
}

}  // namespace penstock::kill
