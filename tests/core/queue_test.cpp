// SPDX-License-Identifier: Apache-2.0
#include "penstock/queue.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "penstock/slab.hpp"
#include "support.hpp"

namespace penstock {
namespace {

using test::fill;
using test::scaled;

constexpr std::size_t kLongestInside = 8192;  // Longer messages change hands by pointer.

/// Keeps the process-wide list of free slabs empty, so that the next slab is an allocation.
class NoFreeSlabs {
 public:
  NoFreeSlabs() {
    test::FailingMemory const none(1);
    while (std::uint8_t* const slab = slab::take()) slabs_.push_back(slab);
  }
  ~NoFreeSlabs() {
    for (std::uint8_t* const slab : slabs_) slab::give(slab);
  }
  NoFreeSlabs(const NoFreeSlabs&) = delete;
  NoFreeSlabs& operator=(const NoFreeSlabs&) = delete;

 private:
  std::vector<std::uint8_t*> slabs_;
};

/// `bytes` of a pattern, so that messages shorter than a stamp can be compared, too.
void push(Queue& queue, std::size_t bytes, std::uint8_t seed) {
  Message message;
  std::uint8_t* const room = message.extend(bytes);
  ASSERT_NE(room, nullptr);
  for (std::size_t i = 0; i < bytes; ++i) room[i] = static_cast<std::uint8_t>(seed + 31 * i);
  ASSERT_EQ(queue.push(message), Status::ok);
  ASSERT_EQ(message.size(), 0U);
}

void expect_popped(Queue& queue, std::size_t bytes, std::uint8_t seed) {
  ASSERT_TRUE(queue.has_record());
  Message message;
  ASSERT_EQ(queue.pop(message), Status::ok);
  ASSERT_EQ(message.size(), bytes);
  ASSERT_EQ(message.cost(), bytes);
  for (std::size_t i = 0; i < bytes; ++i) {
    ASSERT_EQ(message.bytes()[i], static_cast<std::uint8_t>(seed + 31 * i)) << "byte " << i;
  }
}

void expect_empty(Queue& queue) {
  Message message;
  ASSERT_EQ(queue.pop(message), Status::empty);
  ASSERT_FALSE(queue.has_record());
}

TEST(Queue, IsFirstInFirstOutForEverySize) {
  Queue queue;
  ASSERT_EQ(queue.init(), Status::ok);
  expect_empty(queue);
  for (std::size_t bytes = 0; bytes < 300; ++bytes) {
    push(queue, bytes, static_cast<std::uint8_t>(bytes));
  }
  for (std::size_t bytes = 0; bytes < 300; ++bytes) {
    expect_popped(queue, bytes, static_cast<std::uint8_t>(bytes));
  }
  expect_empty(queue);
}

/// Leaves each possible rest of a slab and crosses its end with each size, with and without the
/// consumer waiting there.
TEST(Queue, CrossesTheEndOfASlabWithEveryCombinationOfSizes) {
  for (std::size_t rest = 8; rest <= 320; rest += 8) {
    for (std::size_t bytes = 0; bytes <= 320; bytes += test::kShare == 1 ? 1 : 7) {
      Queue queue;
      ASSERT_EQ(queue.init(), Status::ok);
      for (std::uint8_t i = 0; i < 7; ++i) push(queue, kLongestInside, i);
      std::size_t const filler = slab::kBytes - 7 * (8 + kLongestInside) - 8 - rest;
      push(queue, filler, 7);
      const bool consumer_is_there = (rest / 8 + bytes) % 2 == 0;
      if (consumer_is_there) {
        for (std::uint8_t i = 0; i < 7; ++i) expect_popped(queue, kLongestInside, i);
        expect_popped(queue, filler, 7);
        expect_empty(queue);
      }
      push(queue, bytes, 8);
      push(queue, 13, 9);
      if (!consumer_is_there) {
        for (std::uint8_t i = 0; i < 7; ++i) expect_popped(queue, kLongestInside, i);
        expect_popped(queue, filler, 7);
      }
      expect_popped(queue, bytes, 8);
      expect_popped(queue, 13, 9);
      expect_empty(queue);
    }
  }
}

TEST(Queue, CrossesManySlabsWithRandomSizesAndKeepsNothing) {
  Queue queue;
  ASSERT_EQ(queue.init(), Status::ok);
  test::Random random(3);
  std::vector<std::size_t> queued;
  std::size_t popped = 0;
  for (std::uint64_t step = 0; step < scaled(30'000); ++step) {
    const bool growing = step / 512 % 2 == 0;
    if (random.below(4) < (growing ? 3U : 1U) || popped == queued.size()) {
      std::size_t const bytes = random.below(8) == 0 ? random.below(20'000) : random.below(900);
      push(queue, bytes, static_cast<std::uint8_t>(queued.size()));
      queued.push_back(bytes);
    } else {
      expect_popped(queue, queued[popped], static_cast<std::uint8_t>(popped));
      ++popped;
    }
  }
  for (; popped < queued.size(); ++popped) {
    expect_popped(queue, queued[popped], static_cast<std::uint8_t>(popped));
  }
  expect_empty(queue);
}

TEST(Queue, PassesLongMessagesByPointer) {
  Queue queue;
  ASSERT_EQ(queue.init(), Status::ok);
  for (std::size_t const bytes : {kLongestInside, kLongestInside + 1, std::size_t{1} << 20}) {
    Message message;
    ASSERT_TRUE(fill(message, bytes, {4, bytes}));
    const std::uint8_t* const block = message.bytes().data();
    ASSERT_EQ(queue.push(message), Status::ok);
    Message received;
    ASSERT_EQ(queue.pop(received), Status::ok);
    // A shorter one is copied; its own block was freed, and may come back with the same address.
    if (bytes > kLongestInside) {
      EXPECT_EQ(received.bytes().data(), block);
    }
    test::Stamp stamp{};
    ASSERT_EQ(received.size(), bytes);
    EXPECT_TRUE(test::read_record(received.bytes(), &stamp));
    EXPECT_EQ(stamp.number, bytes);
    ASSERT_NE(received.extend(100), nullptr);  // The block is the receiver's now.
  }
}

/// A message of about `bytes` that owns one handle and pins `pinned`.
void fill_with_objects(Message& message, std::size_t bytes, std::atomic<int>& live,
                       std::span<const std::uint8_t> pinned) {
  wire::Writer writer(message);
  ASSERT_TRUE(writer.tuple(3));
  ASSERT_TRUE(
      writer.handle(wire::HandleKind::channel, Ref<Object>::steal(new test::Counted(live, {}))));
  ASSERT_TRUE(writer.bytes(wire::kBinary, std::vector<std::uint8_t>(bytes, 5)));
  ASSERT_TRUE(writer.pinned(wire::PinnedAs::bytes,
                            Ref<wire::PinnedBytes>::steal(new test::Counted(live, pinned))));
}

TEST(Queue, ReleasesTheObjectsOfMessagesExactlyOnce) {
  std::atomic<int> live{0};
  const std::vector<std::uint8_t> pinned(70'000, 9);
  for (std::size_t const bytes : {10U, 2000U, 20'000U}) {
    Queue queue;
    ASSERT_EQ(queue.init(), Status::ok);
    for (int i = 0; i < 200; ++i) {
      Message message;
      fill_with_objects(message, bytes, live, pinned);
      std::uint64_t const cost = message.cost();
      ASSERT_EQ(cost, message.size() + pinned.size());
      ASSERT_EQ(queue.push(message), Status::ok);
      ASSERT_FALSE(message.owns_objects());
    }
    EXPECT_EQ(live.load(), 400);
    for (int i = 0; i < 200; ++i) {
      Message message;
      ASSERT_EQ(queue.pop(message), Status::ok);
      EXPECT_TRUE(message.owns_objects());
      EXPECT_EQ(message.cost(), message.size() + pinned.size());
    }
    EXPECT_EQ(live.load(), 0);
  }
}

TEST(Queue, ReleasesTheObjectsOfABacklogItIsDroppedWith) {
  std::atomic<int> live{0};
  const std::vector<std::uint8_t> pinned(100, 9);
  for (int received = 0; received < 400; received += 57) {
    Queue queue;
    ASSERT_EQ(queue.init(), Status::ok);
    for (int i = 0; i < 400; ++i) {
      Message message;
      fill_with_objects(message, i % 3 == 0 ? 20'000 : i % 3 == 1 ? 10 : 1500, live, pinned);
      ASSERT_EQ(queue.push(message), Status::ok);
    }
    for (int i = 0; i < received; ++i) {
      Message message;
      ASSERT_EQ(queue.pop(message), Status::ok);
    }
    EXPECT_EQ(live.load(), 2 * (400 - received));
  }
  EXPECT_EQ(live.load(), 0);
}

/// A slab with stale bytes would show as records that nobody sent.
TEST(Queue, GivesSlabsBackZeroed) {
  {
    Queue queue;
    ASSERT_EQ(queue.init(), Status::ok);
    for (int i = 0; i < 300; ++i) push(queue, 700, 0xFF);
    for (int i = 0; i < 150; ++i) expect_popped(queue, 700, 0xFF);
  }
  test::FailingMemory const none(1);
  std::vector<std::uint8_t*> slabs;
  while (std::uint8_t* const slab = slab::take()) slabs.push_back(slab);
  EXPECT_GE(slabs.size(), 3U);
  for (std::uint8_t* const slab : slabs) {
    EXPECT_TRUE(
        std::all_of(slab, slab + slab::kBytes, [](std::uint8_t byte) { return byte == 0; }));
    slab::give(slab);
  }
}

TEST(Queue, IsClosedOnlyWhenDrained) {
  Queue queue;
  ASSERT_EQ(queue.init(), Status::ok);
  push(queue, 10, 1);
  EXPECT_FALSE(queue.is_closed());
  queue.close();
  queue.close();
  EXPECT_TRUE(queue.is_closed());
  Message message;
  ASSERT_TRUE(fill(message, 100, {0, 0}));
  EXPECT_EQ(queue.push(message), Status::closed);
  EXPECT_EQ(message.size(), 100U);
  expect_popped(queue, 10, 1);
  Message none;
  EXPECT_EQ(queue.pop(none), Status::closed);
  EXPECT_EQ(queue.pop(none), Status::closed);
}

TEST(Queue, IsUnchangedWhenThereIsNoMemoryForASlab) {
  const NoFreeSlabs no_slabs;
  test::FailingMemory const none(1);
  Queue queue;
  EXPECT_EQ(queue.init(), Status::out_of_memory);
}

TEST(Queue, RefusesAMessageWithoutMemoryForASlabAndGoesOnLater) {
  Queue queue;
  ASSERT_EQ(queue.init(), Status::ok);
  const NoFreeSlabs no_slabs;
  std::uint64_t accepted = 0;
  {
    test::FailingMemory const none(1);
    for (;; ++accepted) {
      Message message;
      ASSERT_TRUE(fill(message, 100, {0, accepted}));
      const Status status = queue.push(message);
      if (status == Status::ok) continue;
      ASSERT_EQ(status, Status::out_of_memory);
      ASSERT_EQ(message.size(), 100U);
      break;
    }
  }
  EXPECT_EQ(accepted, (slab::kBytes - 8) / 112);
  Message last;
  ASSERT_TRUE(fill(last, 100, {0, accepted}));
  ASSERT_EQ(queue.push(last), Status::ok);
  test::OrderCheck order(1);
  for (std::uint64_t i = 0; i <= accepted; ++i) {
    Message message;
    ASSERT_EQ(queue.pop(message), Status::ok);
    ASSERT_TRUE(order.accept(message.bytes()));
  }
  expect_empty(queue);
}

TEST(Queue, KeepsARecordThatThereIsNoMemoryToReceive) {
  Queue queue;
  ASSERT_EQ(queue.init(), Status::ok);
  std::atomic<int> live{0};
  Message sent;
  fill_with_objects(sent, 4000, live, {});
  ASSERT_EQ(queue.push(sent), Status::ok);
  Message message;
  {
    test::FailingMemory const none(1);
    EXPECT_EQ(queue.pop(message), Status::out_of_memory);
    EXPECT_EQ(queue.pop(message), Status::out_of_memory);
    EXPECT_EQ(message.size(), 0U);
    EXPECT_FALSE(message.owns_objects());
  }
  EXPECT_EQ(live.load(), 2);
  ASSERT_EQ(queue.pop(message), Status::ok);
  message.clear();
  EXPECT_EQ(live.load(), 0);
}

class QueueWithProducers : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Producers, QueueWithProducers, testing::Values(1U, 2U, 4U));

TEST_P(QueueWithProducers, KeepsTheOrderOfEach) {
  const unsigned producers = GetParam();
  std::uint64_t const messages = scaled(1'200'000) / producers;
  Queue queue;
  ASSERT_EQ(queue.init(), Status::ok);
  std::atomic<std::uint64_t> popped{0};  // Bounds the backlog.
  std::atomic<std::uint64_t> pushed{0};
  std::atomic<unsigned> left{producers};
  std::vector<std::jthread> threads;
  for (unsigned id = 0; id < producers; ++id) {
    threads.emplace_back([&, id] {
      test::Random random(id + 1);
      test::Patience patience;
      for (std::uint64_t number = 0; number < messages; ++number) {
        std::size_t const bytes =
            test::kStampBytes + (random.below(64) == 0 ? random.below(20'000) : random.below(200));
        Message message;
        ASSERT_TRUE(fill(message, bytes, {id, number}));
        ASSERT_EQ(queue.push(message), Status::ok);
        // Signed: what is popped may not have been counted as pushed yet.
        while (static_cast<std::int64_t>(pushed.fetch_add(1) + 1 - popped.load()) > 200'000) {
          pushed.fetch_sub(1);
          ASSERT_TRUE(patience.another_turn());
        }
      }
      if (left.fetch_sub(1) == 1) queue.close();
    });
  }
  test::OrderCheck order(producers);
  test::Patience patience;
  for (;;) {
    Message message;
    const Status status = queue.pop(message);
    if (status == Status::closed) break;
    if (status == Status::empty) {
      ASSERT_TRUE(patience.another_turn());
      continue;
    }
    ASSERT_EQ(status, Status::ok);
    ASSERT_TRUE(order.accept(message.bytes()));
    popped.fetch_add(1);
  }
  for (unsigned id = 0; id < producers; ++id) EXPECT_EQ(order.seen(id), messages);
}

}  // namespace
}  // namespace penstock
