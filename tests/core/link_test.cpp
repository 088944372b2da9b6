// SPDX-License-Identifier: Apache-2.0
// The connection between the VM and a worker process, with both ends in this one.
#include "penstock/link.hpp"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "penstock/frame.hpp"

namespace penstock {
namespace {

struct Pair {
  explicit Pair(int process = -1) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    Segment segment = Segment::create_shared(Link::bytes());
    memory = Segment::attach(dup(segment.descriptor()), Link::bytes());
    Segment theirs = Segment::attach(dup(segment.descriptor()), Link::bytes());
    vm = Link::create(std::move(segment), ends[0], Link::Side::vm, process);
    worker = Link::create(std::move(theirs), ends[1], Link::Side::worker);
  }
  Segment memory;  // For who breaks the rules.
  Ref<Link> vm;
  Ref<Link> worker;
};

/// A frame whose bytes follow from its number and its size.
void fill(Message& frame, std::uint32_t number, std::size_t size) {
  std::uint8_t* const room = frame.extend(sizeof number + size);
  ASSERT_NE(room, nullptr);
  std::memcpy(room, &number, sizeof number);
  for (std::size_t i = 0; i < size; ++i) {
    room[sizeof number + i] = static_cast<std::uint8_t>(number + i * 7);
  }
}

bool is_frame(const Message& frame, std::uint32_t number, std::size_t size) {
  Message expected;
  fill(expected, number, size);
  return std::ranges::equal(frame.bytes(), expected.bytes());
}

std::size_t size_of(std::uint32_t number) {
  constexpr std::size_t kSizes[] = {1, 60, 1000, 0, 70'000, 12, 262'136, 262'145, 3'000'000, 5};
  return kSizes[number % std::size(kSizes)];
}

std::int64_t soon() { return now_ns() + 20'000'000'000; }

void send_frames(Link& link, std::uint32_t count) {
  for (std::uint32_t number = 0; number < count; ++number) {
    Message frame;
    fill(frame, number, size_of(number));
    ASSERT_EQ(link.send(frame), Status::ok);
    ASSERT_EQ(frame.size(), 0U);
  }
}

void expect_frames(Link& link, std::uint32_t count) {
  for (std::uint32_t number = 0; number < count; ++number) {
    Message frame;
    ASSERT_EQ(link.receive(frame, soon()), Status::ok) << number;
    ASSERT_TRUE(is_frame(frame, number, size_of(number))) << number;
  }
}

TEST(Link, CarriesFramesOfAnySizeInBothDirectionsAtOnce) {
  const Pair pair;
  constexpr std::uint32_t kCount = 200;
  std::thread worker([&] {
    std::thread sender([&] { send_frames(*pair.worker, kCount); });
    expect_frames(*pair.worker, kCount);
    sender.join();
    // What is still in the queue needs somebody who receives.
    Message frame;
    EXPECT_EQ(pair.worker->receive(frame, soon()), Status::closed);
  });
  std::thread sender([&] { send_frames(*pair.vm, kCount); });
  expect_frames(*pair.vm, kCount);
  sender.join();
  Message frame;
  while (pair.vm->receive(frame, now_ns() + 1'000'000) == Status::empty && !pair.vm->is_idle()) {
  }
  pair.vm->hang_up();
  worker.join();
}

TEST(Link, KeepsTheOrderOfEachSender) {
  const Pair pair;
  constexpr std::uint32_t kSenders = 4, kCount = 20'000;
  // Moves on what found no room.
  std::thread receiver([&] {
    Message frame;
    EXPECT_EQ(pair.worker->receive(frame, soon()), Status::closed);
  });
  std::vector<std::thread> senders;
  for (std::uint32_t sender = 0; sender < kSenders; ++sender) {
    senders.emplace_back([&, sender] {
      for (std::uint32_t number = 0; number < kCount; ++number) {
        Message frame;
        ASSERT_TRUE(begin_frame(frame, FrameKind::answer, number, sender));
        ASSERT_EQ(pair.worker->send(frame), Status::ok);
      }
    });
  }
  std::vector<std::uint32_t> next(kSenders);
  for (std::uint32_t received = 0; received < kSenders * kCount; ++received) {
    Message frame;
    ASSERT_EQ(pair.vm->receive(frame, soon()), Status::ok);
    FrameHead head{};
    std::span<const std::uint8_t> rest;
    ASSERT_TRUE(read_frame(frame.bytes(), &head, &rest));
    ASSERT_LT(head.detail, kSenders);
    ASSERT_EQ(head.id, next[head.detail]++);
  }
  for (std::thread& sender : senders) sender.join();
  pair.vm->hang_up();
  receiver.join();
}

/// Each side sleeps most of the time.
TEST(Link, WakesWhoSleeps) {
  const Pair pair;
  constexpr std::uint32_t kRounds = 2000;
  std::thread worker([&] {
    for (std::uint32_t round = 0; round < kRounds; ++round) {
      Message frame;
      ASSERT_EQ(pair.worker->receive(frame, soon()), Status::ok);
      ASSERT_EQ(pair.worker->send(frame), Status::ok);
    }
  });
  std::mt19937 chance(3);
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    Message frame;
    fill(frame, round, 100);
    std::int64_t const until = now_ns() + chance() % 150'000;
    while (now_ns() < until) spin_pause(0);
    ASSERT_EQ(pair.vm->send(frame), Status::ok);
    Message back;
    ASSERT_EQ(pair.vm->receive(back, soon()), Status::ok);
    ASSERT_TRUE(is_frame(back, round, 100));
  }
  worker.join();
}

TEST(Link, WhatDoesNotFitWaitsForRoom) {
  const Pair pair;
  send_frames(*pair.vm, 40);  // Some 13 MB, and nobody receives.
  std::thread vm([&] {
    Message frame;
    EXPECT_EQ(pair.vm->receive(frame, soon()), Status::closed);
  });
  expect_frames(*pair.worker, 40);
  pair.worker->hang_up();
  vm.join();
}

TEST(Link, TellsHowFullItIs) {
  const Pair pair;
  EXPECT_EQ(pair.vm->fill().to_other, 0U);
  Message frame;
  fill(frame, 1, 996);
  ASSERT_EQ(pair.vm->send(frame), Status::ok);
  EXPECT_EQ(pair.vm->fill().to_other, 1016U);  // With the headers of record and piece.
  EXPECT_EQ(pair.worker->fill().from_other, 1016U);
  EXPECT_EQ(pair.vm->fill().from_other, 0U);
  EXPECT_FALSE(pair.vm->fill().has_more);
  for (std::uint32_t number = 0; number < 20; ++number) {
    Message large;
    fill(large, number, 100'000);
    ASSERT_EQ(pair.vm->send(large), Status::ok);
  }
  EXPECT_TRUE(pair.vm->fill().has_more);
  EXPECT_GT(pair.vm->fill().to_other, Link::kCapacity - 110'000);
  // Whoever breaks the rules is not believed.
  const Link::Layout layout = Link::layout();
  auto* const ring = reinterpret_cast<RingHeader*>(
      pair.memory.memory().data() + layout.ring_to[static_cast<int>(Link::Side::vm)]);
  ring->tail.store(UINT64_MAX, order::relaxed);
  EXPECT_EQ(pair.vm->fill().from_other, Link::kCapacity);
}

TEST(Link, ReceiveEndsAtTheDeadlineOrWhenItIsWoken) {
  const Pair pair;
  Message frame;
  std::int64_t const deadline = now_ns() + 3'000'000;
  EXPECT_EQ(pair.vm->receive(frame, deadline), Status::empty);
  EXPECT_GE(now_ns(), deadline);
  pair.vm->wake();
  EXPECT_EQ(pair.vm->receive(frame, soon()), Status::empty);
  std::thread other([&] { pair.vm->wake(); });
  EXPECT_EQ(pair.vm->receive(frame, soon()), Status::empty);
  other.join();
}

TEST(Link, WhatWasSentBeforeTheEndIsReceived) {
  const Pair pair;
  Message frame;
  fill(frame, 1, 100);
  ASSERT_EQ(pair.worker->send(frame), Status::ok);
  pair.worker->hang_up();
  EXPECT_EQ(pair.worker->send(frame), Status::closed);
  ASSERT_EQ(pair.vm->receive(frame, soon()), Status::ok);
  EXPECT_TRUE(is_frame(frame, 1, 100));
  frame.clear();
  EXPECT_EQ(pair.vm->receive(frame, soon()), Status::closed);
}

TEST(Link, TheEndOfTheProcessIsTheEnd) {
  const int process = eventfd(0, EFD_CLOEXEC);  // As readable as a pidfd.
  {
    const Pair pair(process);
    Message frame;
    EXPECT_EQ(pair.vm->receive(frame, now_ns()), Status::empty);
    ASSERT_EQ(eventfd_write(process, 1), 0);
    EXPECT_EQ(pair.vm->receive(frame, soon()), Status::closed);
  }
  close(process);
}

/// What a Look leaves behind, the listener hears of.
TEST(Link, FramesAreTakenByAListenerAndByWhoLooks) {
  const Pair pair;
  constexpr std::uint32_t kCount = 100'000;
  std::uint32_t next = 0;  // Of whoever receives.
  const auto note = [&](const Message& frame) {
    std::uint32_t number = 0;
    std::memcpy(&number, frame.bytes().data(), sizeof number);
    ASSERT_EQ(number, next++);
  };
  std::atomic<bool> is_over{false};
  std::thread looker([&] {
    Message frame;
    for (unsigned turn = 0; !is_over.load(); ++turn) {
      Link::Look look(*pair.worker);
      for (int each = 0; look && each < 20; ++each) {
        if (look.take(frame, 100) == Status::ok) note(frame);
        frame.reset();
      }
      if (turn % 2 == 0) look.end_briefly();
    }
  });
  std::thread listener([&] {
    Message frame;
    for (Status status = Status::ok; status != Status::closed; frame.clear()) {
      status = pair.worker->receive(frame, kNoDeadline);
      if (status == Status::ok) note(frame);
    }
    EXPECT_EQ(next, kCount);
    is_over = true;
  });
  std::mt19937 chance(5);
  for (std::uint32_t number = 0; number < kCount; ++number) {
    Message frame;
    fill(frame, number, chance() % 50 == 0 ? 1000 : 8);  // A long one is the listener's.
    ASSERT_EQ(pair.vm->send(frame), Status::ok);
    std::int64_t const until = chance() % 100 == 0 ? now_ns() + chance() % 100'000 : 0;
    while (now_ns() < until) spin_pause(0);
  }
  Message frame;
  while (!pair.vm->is_idle()) (void)pair.vm->receive(frame, now_ns() + 1'000'000);
  pair.vm->hang_up();
  listener.join();
  looker.join();
}

/// As the main thread of a worker process does. What comes just when it ends a look is the
/// listener's.
TEST(Link, WhoLooksSleepsUntilAFrameComesOrItIsRoused) {
  const Pair pair;
  constexpr std::uint32_t kRounds = 3000;
  std::atomic<std::uint32_t> roused{0};
  std::atomic<bool> is_over{false};
  std::thread listener([&] {
    Message frame;
    for (Status status = Status::ok; status != Status::closed;) {
      status = pair.worker->receive(frame, kNoDeadline);
      if (status != Status::ok) continue;
      ASSERT_EQ(pair.worker->send(frame), Status::ok);
    }
  });
  std::uint32_t looked = 0;
  const auto answer = [&](Link::Look& look) {
    Message frame;
    if (!look || look.take(frame, 1000) != Status::ok) return false;
    ++looked;
    EXPECT_EQ(pair.worker->send(frame), Status::ok);
    return true;
  };
  std::thread passer_by([&] {
    for (unsigned turn = 0; !is_over.load(); ++turn) {
      Link::Look look(*pair.worker);
      for (int each = 0; each < 100 && !answer(look); ++each) spin_pause(0);
      look.end();
      for (unsigned pause = 0; pause < turn % 1000; ++pause) spin_pause(0);
    }
  });
  std::thread looker([&] {
    for (std::uint32_t seen = 0; !is_over.load();) {
      Link::Look look(*pair.worker);
      if (!look || answer(look)) continue;
      if (look.lie_down() && roused.load() == seen) {
        look.park();
      } else {
        seen = roused.load();
      }
    }
  });
  const auto rouse = [&] {
    ++roused;
    pair.worker->rouse_looker();
  };
  std::mt19937 chance(4);
  Message back;
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    std::int64_t const until = now_ns() + chance() % 100'000;
    while (now_ns() < until) spin_pause(0);
    if (chance() % 3 == 0) rouse();
    Message frame;
    fill(frame, round, 100);
    ASSERT_EQ(pair.vm->send(frame), Status::ok);
    ASSERT_EQ(pair.vm->receive(back, soon()), Status::ok);
    ASSERT_TRUE(is_frame(back, round, 100));
    back.clear();
  }
  is_over = true;
  rouse();
  looker.join();
  passer_by.join();
  EXPECT_GT(looked, 0U);
  pair.vm->hang_up();
  listener.join();
}

/// The thread that looks has begun something long, or blocks: the listener takes over.
TEST(Link, TheListenerTakesOverFromWhoDoesNotComeBack) {
  const Pair pair;
  const auto send = [&](std::uint32_t number) {
    Message frame;
    fill(frame, number, 10);
    ASSERT_EQ(pair.vm->send(frame), Status::ok);
  };
  std::atomic<std::uint32_t> heard{0};
  std::thread listener([&] {
    Message frame;
    for (; pair.worker->receive(frame, kNoDeadline) == Status::ok; frame.clear()) ++heard;
  });
  const auto has_heard = [&](std::uint32_t count) {
    std::int64_t const until = soon();
    while (heard.load() != count && now_ns() < until) std::this_thread::yield();
    return heard.load() == count;
  };
  send(0);
  EXPECT_TRUE(has_heard(1));
  for (std::uint32_t round = 1; round < 50; ++round) {
    for (bool has_looked = false; !has_looked;) {
      Link::Look look(*pair.worker);
      has_looked = static_cast<bool>(look);
      look.end_briefly();
    }
    send(round);
    EXPECT_TRUE(has_heard(round + 1));
  }
  pair.vm->hang_up();
  listener.join();
}

/// Another process may write what it likes where it likes.
TEST(Link, WhatBreaksTheRulesIsCorruptOrNothing) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    const Pair pair;
    std::mt19937_64 chance(seed);
    const std::span<std::uint8_t> bytes = pair.memory.memory();
    auto* const words = reinterpret_cast<std::uint64_t*>(bytes.data());
    std::size_t const count = bytes.size() / sizeof(std::uint64_t);
    send_frames(*pair.worker, seed % 4);
    send_frames(*pair.vm, seed % 3);
    for (int write = 0; write < 200; ++write) {
      std::size_t const place = chance() % 3 == 0 ? chance() % count : chance() % 200;
      words[place] = chance() % 2 == 0 ? chance() : chance() % 4096;
    }
    for (int look = 0; look < 50; ++look) {
      Message frame;
      fill(frame, 1, 100);
      (void)pair.vm->send(frame);
      frame.clear();
      if (chance() % 2 == 0) {
        Link::Look vm(*pair.vm);
        if (vm && vm.take(frame, 1000) == Status::corrupt) break;
        frame.clear();
      }
      const Status status = pair.vm->receive(frame, now_ns());
      if (status == Status::corrupt) break;
      ASSERT_TRUE(status == Status::ok || status == Status::empty);
    }
  }
}

TEST(Link, AnotherSegmentIsRefused) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  EXPECT_THROW(
      (void)Link::create(Segment::create_shared(Link::bytes()), ends[0], Link::Side::worker),
      std::bad_alloc);
  char byte = 0;
  EXPECT_EQ(read(ends[1], &byte, 1), 0) << "its end is closed";
  close(ends[1]);
}

}  // namespace
}  // namespace penstock
