// SPDX-License-Identifier: Apache-2.0
#include "penstock/channel.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "penstock/slab.hpp"
#include "support.hpp"

namespace penstock {
namespace {

using test::fill;
using Wake = ThreadWaiter::Wake;

Status send(Channel& channel, std::size_t bytes, const test::Stamp& stamp = {0, 0}) {
  Message message;
  EXPECT_TRUE(fill(message, bytes, stamp));
  return channel.try_send(message);
}

Status receive(Channel& channel) {
  Message message;
  return channel.try_receive(message);
}

TEST(Channel, CountsEveryByteOfItsMessages) {
  for (std::uint64_t const max_size : {std::uint64_t{0}, std::uint64_t{1} << 20}) {
    const Ref<Channel> channel = Channel::create(max_size);
    ASSERT_TRUE(channel);
    EXPECT_EQ(channel->max_size(), max_size);
    const std::vector<std::size_t> sizes{12, 13, 100, 1024, 1025, 8192, 8193, 70'000};
    std::uint64_t queued = 0;
    for (std::size_t const bytes : sizes) {
      ASSERT_EQ(send(*channel, bytes), Status::ok);
      EXPECT_EQ(channel->size(), queued += bytes);
    }
    for (std::size_t const bytes : sizes) {
      Message message;
      ASSERT_EQ(channel->try_receive(message), Status::ok);
      ASSERT_EQ(message.size(), bytes);
      EXPECT_EQ(channel->size(), queued -= bytes);
    }
    EXPECT_EQ(receive(*channel), Status::empty);
  }
}

TEST(Channel, CarriesEmptyMessages) {
  const Ref<Channel> channel = Channel::create(10);
  Message message;
  ASSERT_EQ(channel->try_send(message), Status::ok);
  EXPECT_EQ(channel->size(), 0U);
  EXPECT_EQ(channel->try_receive(message), Status::ok);
  EXPECT_EQ(message.size(), 0U);
  EXPECT_EQ(channel->try_receive(message), Status::empty);
}

TEST(Channel, IsFullExactlyAtMaxSize) {
  const Ref<Channel> channel = Channel::create(100);
  EXPECT_EQ(send(*channel, 101), Status::too_large);
  ASSERT_EQ(send(*channel, 60), Status::ok);
  EXPECT_EQ(send(*channel, 41), Status::full);
  EXPECT_EQ(send(*channel, 40), Status::ok);
  EXPECT_EQ(channel->size(), 100U);
  EXPECT_EQ(send(*channel, 12), Status::full);
  Message empty;
  EXPECT_EQ(channel->try_send(empty), Status::ok);
  EXPECT_EQ(send(*channel, 101), Status::too_large);
  ASSERT_EQ(receive(*channel), Status::ok);
  EXPECT_EQ(send(*channel, 61), Status::full);
  EXPECT_EQ(send(*channel, 60), Status::ok);
  EXPECT_EQ(channel->size(), 100U);
}

TEST(Channel, CountsPinnedBytesToo) {
  std::atomic<int> live{0};
  const std::vector<std::uint8_t> large(1000, 1);
  {
    const Ref<Channel> channel = Channel::create(1500);
    for (const Status expected : {Status::ok, Status::full}) {
      Message message;
      ASSERT_TRUE(wire::Writer(message).pinned(
          wire::PinnedAs::binary, Ref<wire::PinnedBytes>::steal(new test::Counted(live, large))));
      std::uint64_t const cost = message.cost();
      EXPECT_EQ(channel->try_send(message), expected);
      EXPECT_EQ(channel->size(), 1000U + 10U);
      EXPECT_EQ(message.cost(), expected == Status::ok ? 0 : cost);  // Refused: unchanged.
    }
    EXPECT_EQ(live.load(), 1);
    Message message;
    ASSERT_EQ(channel->try_receive(message), Status::ok);
    EXPECT_EQ(channel->size(), 0U);
    EXPECT_EQ(message.cost(), 1010U);
    ASSERT_EQ(channel->try_send(message), Status::ok);
  }
  EXPECT_EQ(live.load(), 0);  // Went with the channel.
}

TEST(Channel, IsClosedOnlyWhenDrained) {
  const Ref<Channel> channel = Channel::create(0);
  ASSERT_EQ(send(*channel, 20), Status::ok);
  EXPECT_FALSE(channel->is_closed());
  channel->close();
  channel->close();
  EXPECT_TRUE(channel->is_closed());
  Message refused;
  ASSERT_TRUE(fill(refused, 30, {0, 0}));
  EXPECT_EQ(channel->try_send(refused), Status::closed);
  EXPECT_EQ(refused.size(), 30U);
  EXPECT_EQ(channel->size(), 20U);
  EXPECT_EQ(receive(*channel), Status::ok);
  EXPECT_EQ(receive(*channel), Status::closed);
  ThreadWaiter me;
  Wake wake{};
  Message message;
  EXPECT_EQ(channel->receive(message, kNoDeadline, me, &wake), Status::closed);
  EXPECT_EQ(channel->send(refused, kNoDeadline, me, &wake), Status::closed);
}

TEST(Channel, BlockingCallsReturnAtOnceWhenTheyCan) {
  const Ref<Channel> channel = Channel::create(100);
  channel->add_sender();
  ThreadWaiter me;
  Wake wake{};
  Message message;
  ASSERT_TRUE(fill(message, 101, {0, 0}));
  EXPECT_EQ(channel->send(message, kNoDeadline, me, &wake), Status::too_large);
  message.clear();
  ASSERT_TRUE(fill(message, 100, {0, 0}));
  EXPECT_EQ(channel->send(message, 0, me, &wake), Status::ok);
  ASSERT_TRUE(fill(message, 12, {0, 0}));
  EXPECT_EQ(channel->send(message, 0, me, &wake), Status::full);
  EXPECT_EQ(wake, Wake::timeout);
  message.clear();
  EXPECT_EQ(channel->receive(message, 0, me, &wake), Status::ok);
  message.clear();
  EXPECT_EQ(channel->receive(message, 0, me, &wake), Status::empty);
  EXPECT_EQ(wake, Wake::timeout);
  EXPECT_EQ(channel->data_waiters().waiting() + channel->space_waiters().waiting(), 0U);
}

TEST(Channel, BlockedCallsCanBeInterrupted) {
  const Ref<Channel> channel = Channel::create(20);
  channel->add_sender();
  for (const bool sending : {false, true}) {
    ASSERT_EQ(sending ? send(*channel, 20) : Status::ok, Status::ok);
    ThreadWaiter me;
    WaitList& line = sending ? channel->space_waiters() : channel->data_waiters();
    std::jthread const interrupter([&] {
      test::Patience patience;
      while (line.waiting() == 0) ASSERT_TRUE(patience.another_turn());
      me.interrupt();
    });
    Wake wake{};
    Message message;
    if (sending) {
      ASSERT_TRUE(fill(message, 20, {0, 0}));
      EXPECT_EQ(channel->send(message, test::deadline(), me, &wake), Status::full);
      EXPECT_EQ(message.size(), 20U);
    } else {
      EXPECT_EQ(channel->receive(message, test::deadline(), me, &wake), Status::empty);
    }
    EXPECT_EQ(wake, Wake::interrupted);
    EXPECT_EQ(line.waiting(), 0U);
  }
}

TEST(Channel, TellsReceiversWhenNoSenderIsLeft) {
  const Ref<Channel> channel = Channel::create(0);
  Message message;
  EXPECT_EQ(channel->receive_or_wait(message), Status::closed);  // None came yet.
  channel->add_sender();
  channel->add_sender();
  EXPECT_EQ(channel->receive_or_wait(message), Status::empty);
  channel->remove_sender();
  EXPECT_EQ(channel->receive_or_wait(message), Status::empty);
  std::jthread const last([&] {
    test::Patience patience;
    while (channel->data_waiters().waiting() == 0) ASSERT_TRUE(patience.another_turn());
    EXPECT_EQ(send(*channel, 20), Status::ok);
    channel->remove_sender();
  });
  ThreadWaiter me;
  Wake wake{};
  EXPECT_EQ(channel->receive(message, test::deadline(), me, &wake), Status::ok);
  message.clear();
  EXPECT_EQ(channel->receive(message, test::deadline(), me, &wake), Status::closed);
  EXPECT_EQ(receive(*channel), Status::empty);  // A sender may come back.
  channel->add_sender();
  EXPECT_EQ(channel->receive_or_wait(message), Status::empty);
}

TEST(Channel, KeepsItsFirstPeer) {
  std::atomic<int> live{0};
  {
    const Ref<Channel> channel = Channel::create(0);
    EXPECT_EQ(channel->peer(), nullptr);
    Ref<Object> first = Ref<Object>::steal(new test::Counted(live, {}));
    Ref<Object> second = Ref<Object>::steal(new test::Counted(live, {}));
    Object* const expected = first.get();
    EXPECT_TRUE(channel->set_peer(first));
    EXPECT_FALSE(first);
    EXPECT_FALSE(channel->set_peer(second));
    EXPECT_TRUE(second);
    EXPECT_EQ(channel->peer(), expected);
    EXPECT_EQ(live.load(), 2);
  }
  EXPECT_EQ(live.load(), 0);
}

/// {Record, Handle}; false when memory ran out.
bool fill_with_object(Message& message, std::uint32_t bytes, std::uint64_t number,
                      std::atomic<int>& live) {
  wire::Writer writer(message);
  std::uint8_t* const room = writer.tuple(2) ? writer.bytes_room(wire::kBinary, bytes) : nullptr;
  if (room == nullptr) return false;
  test::write_record({room, bytes}, {0, number});
  return writer.handle(wire::HandleKind::call, Ref<Object>::steal(new test::Counted(live, {})));
}

std::uint64_t number_of(const Message& message) {
  wire::Reader reader(message.bytes());
  wire::Item item{};
  test::Stamp stamp{};
  EXPECT_EQ(reader.next(item), Status::ok);
  EXPECT_EQ(reader.next(item), Status::ok);
  EXPECT_TRUE(test::read_record(item.bytes, &stamp));
  return stamp.number;
}

TEST(Channel, StaysAsItIsWhereverMemoryRunsOut) {
  std::atomic<int> live{0};
  bool finished = false;
  for (unsigned long countdown = 1; !finished; ++countdown) {
    ASSERT_LT(countdown, 400U);
    // Free slabs would hide the allocation of the next one.
    std::vector<std::uint8_t*> slabs;
    {
      test::FailingMemory const none(1);
      while (std::uint8_t* const slab = slab::take()) slabs.push_back(slab);
    }
    {
      const test::FailingMemory failing(countdown);
      finished = true;
      if (const Ref<Channel> channel = Channel::create(0)) {
        std::uint64_t queued = 0;
        std::uint64_t sent = 0;
        for (std::uint32_t i = 0; i < 60; ++i) {
          Message message;
          const bool filled = fill_with_object(message, 1000 + 200 * i, sent, live);
          std::uint64_t const cost = message.cost();
          const Status status = filled ? channel->try_send(message) : Status::out_of_memory;
          finished = finished && status == Status::ok;
          ASSERT_TRUE(status == Status::ok || status == Status::out_of_memory);
          if (status != Status::ok) continue;
          ++sent;
          ASSERT_EQ(channel->size(), queued += cost);
        }
        for (std::uint64_t received = 0; received < sent;) {
          Message message;
          const Status status = channel->try_receive(message);
          if (status == Status::out_of_memory) {
            finished = false;
            ASSERT_EQ(channel->size(), queued);
            memory::fail_after(0);  // Nothing may be lost: once there is memory it comes.
            continue;
          }
          ASSERT_EQ(status, Status::ok);
          ASSERT_EQ(number_of(message), received++);
          ASSERT_EQ(channel->size(), queued -= message.cost());
        }
        ASSERT_EQ(receive(*channel), Status::empty);
      } else {
        finished = false;
      }
    }
    for (std::uint8_t* const slab : slabs) slab::give(slab);
    ASSERT_EQ(live.load(), 0) << "countdown " << countdown;
  }
}

}  // namespace
}  // namespace penstock
