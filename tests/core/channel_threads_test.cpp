// SPDX-License-Identifier: Apache-2.0
// Channel under load, from several threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string_view>
#include <thread>

#include "penstock/channel.hpp"
#include "support.hpp"

namespace penstock {
namespace {

using test::fill;
using test::scaled;
using Wake = ThreadWaiter::Wake;

/// With one sender, so that a receiver of nothing waits.
Ref<Channel> open_channel(std::uint64_t max_size) {
  Ref<Channel> channel = Channel::create(max_size);
  channel->add_sender();
  return channel;
}

/// Blocks until it is sent: Status::ok, or closed. Anything else, or a hang, is a failure.
Status send(Channel& channel, std::size_t bytes, const test::Stamp& stamp) {
  Message message;
  EXPECT_TRUE(fill(message, bytes, stamp));
  ThreadWaiter me;
  Wake wake{};
  return channel.send(message, test::deadline(), me, &wake);
}

struct Load {
  unsigned producers;
  unsigned consumers;
  std::uint64_t max_size;
};

class ChannelUnderLoad : public testing::TestWithParam<Load> {};
INSTANTIATE_TEST_SUITE_P(Loads, ChannelUnderLoad,
                         testing::Values(Load{1, 1, 0}, Load{2, 1, 0}, Load{4, 1, 0}, Load{1, 2, 0},
                                         Load{4, 2, 0}, Load{1, 1, 4096}, Load{2, 1, 4096},
                                         Load{4, 1, 40'000}, Load{1, 2, 4096}, Load{4, 2, 40'000}));

/// Every producer's messages reach each consumer in order, and all of them reach one.
TEST_P(ChannelUnderLoad, KeepsOrderAndNeverExceedsMaxSize) {
  const Load load = GetParam();
  std::uint64_t const messages = scaled(300'000) / load.producers;
  const Ref<Channel> channel = open_channel(load.max_size);
  std::atomic<unsigned> producing{load.producers};
  std::atomic<std::uint64_t> received{0};
  std::atomic<std::uint64_t> sum{0};
  std::atomic<unsigned> consuming{load.consumers};
  {
    std::vector<std::jthread> threads;
    for (unsigned id = 0; id < load.producers; ++id) {
      threads.emplace_back([&, id] {
        test::Random random(id + 1);
        std::size_t const longest = load.max_size == 0 ? 20'000 : load.max_size - 11;
        for (std::uint64_t number = 0; number < messages; ++number) {
          std::size_t const bytes =
              test::kStampBytes + random.below(random.below(64) == 0 ? longest : 150);
          ASSERT_EQ(send(*channel, std::min(bytes, longest), {id, number}), Status::ok);
        }
        if (producing.fetch_sub(1) == 1) channel->close();
      });
    }
    for (unsigned id = 0; id < load.consumers; ++id) {
      threads.emplace_back([&] {
        std::vector<std::uint64_t> last(load.producers, 0);
        ThreadWaiter me;
        Wake wake{};
        for (;;) {
          Message message;
          const Status status = channel->receive(message, test::deadline(), me, &wake);
          if (status == Status::closed) break;
          ASSERT_EQ(status, Status::ok);
          test::Stamp stamp{};
          ASSERT_TRUE(test::read_record(message.bytes(), &stamp));
          ASSERT_LT(stamp.producer, load.producers);
          ASSERT_GE(stamp.number + 1, last[stamp.producer] + 1);
          last[stamp.producer] = stamp.number + 1;
          sum.fetch_add(stamp.number, std::memory_order_relaxed);
          received.fetch_add(1, std::memory_order_relaxed);
        }
        consuming.fetch_sub(1);
      });
    }
    test::Patience patience;
    while (consuming.load() != 0) {
      ASSERT_TRUE(load.max_size == 0 || channel->size() <= load.max_size);
      ASSERT_TRUE(patience.another_turn());
    }
  }
  EXPECT_EQ(received.load(), messages * load.producers);
  EXPECT_EQ(sum.load(), load.producers * (messages * (messages - 1) / 2));
  EXPECT_EQ(channel->size(), 0U);
  EXPECT_EQ(channel->data_waiters().waiting() + channel->space_waiters().waiting(), 0U);
}

/// Bytes admitted and bytes released are two words. A producer that was overtaken between reading
/// them computed nonsense and was refused, although the channel was nearly empty.
TEST(Channel, IsNeverFullToAProducerThatWasOvertaken) {
  constexpr unsigned kProducers = 3;  // Each has one message of 16 bytes under way.
  const Ref<Channel> channel = Channel::create(kProducers * 16);
  std::array<std::atomic<std::uint64_t>, kProducers> received{};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<unsigned> left{kProducers};
  std::vector<std::jthread> threads;
  for (unsigned id = 0; id < kProducers; ++id) {
    threads.emplace_back([&, id] {
      test::Patience patience;
      std::uint64_t const messages = scaled(100'000);
      for (std::uint64_t sent = 1; sent <= messages; ++sent) {
        Message message;
        ASSERT_TRUE(fill(message, 16, {id, sent}));
        while (channel->try_send(message) != Status::ok) refused.fetch_add(1);
        while (received[id].load(std::memory_order_acquire) != sent) {
          ASSERT_TRUE(patience.another_turn());
        }
      }
      if (left.fetch_sub(1) == 1) channel->close();
    });
  }
  test::Patience patience;
  for (;;) {
    Message message;
    const Status status = channel->try_receive(message);
    if (status == Status::closed) break;
    if (status == Status::empty) {
      ASSERT_TRUE(patience.another_turn());
      continue;
    }
    test::Stamp stamp{};
    ASSERT_TRUE(test::read_record(message.bytes(), &stamp));
    received[stamp.producer].store(stamp.number, std::memory_order_release);
  }
  EXPECT_EQ(refused.load(), 0U);
}

/// A long message at the head of the line was woken in vain; when its sender gave up, a shorter one
/// behind it slept on although there was room.
TEST(Channel, ASenderThatGivesUpLetsTheNextOneTry) {
  const Ref<Channel> channel = Channel::create(100);
  ASSERT_EQ(send(*channel, 20, {0, 0}), Status::ok);
  ASSERT_EQ(send(*channel, 80, {0, 1}), Status::ok);
  const auto await_line = [&](std::uint32_t length) {
    test::Patience patience;
    while (channel->space_waiters().waiting() != length) ASSERT_TRUE(patience.another_turn());
  };
  ThreadWaiter first;
  std::jthread const long_message([&] {
    Message message;
    ASSERT_TRUE(fill(message, 50, {1, 0}));
    Wake wake{};
    EXPECT_EQ(channel->send(message, test::deadline(), first, &wake), Status::full);
    EXPECT_EQ(wake, Wake::interrupted);
  });
  await_line(1);
  std::atomic<bool> is_sent{false};
  std::jthread short_message([&] {
    EXPECT_EQ(send(*channel, 15, {2, 0}), Status::ok);
    is_sent.store(true);
  });
  await_line(2);
  Message message;
  ASSERT_EQ(channel->try_receive(message), Status::ok);  // Wakes the first, for which 20 is little.
  // Unless the second finds the room itself, at the look between getting in line and its sleep.
  test::Patience patience;
  while (channel->space_waiters().waiting() != 2 && !is_sent.load()) {
    ASSERT_TRUE(patience.another_turn());
  }
  first.interrupt();
  short_message.join();
  EXPECT_EQ(channel->size(), 95U);
}

/// A receiver that was woken and timed out at the same time passes the wake-up on.
TEST(Channel, AReceiverThatTimesOutLeavesTheMessageToTheNext) {
  const Ref<Channel> channel = open_channel(0);
  std::uint64_t passed_on = 0;
  for (std::uint64_t round = 0; round < scaled(2'000); ++round) {
    std::atomic<int> received{0};
    ThreadWaiter hasty;
    ThreadWaiter patient;
    std::atomic<std::int64_t> hasty_until{0};
    std::jthread first([&] {
      Message message;
      Wake wake{};
      hasty_until = now_ns() + 60'000;
      if (channel->receive(message, hasty_until, hasty, &wake) != Status::ok) return;
      received.fetch_add(1);
      patient.interrupt();
    });
    std::jthread second([&] {
      Message message;
      Wake wake{};
      const Status status = channel->receive(message, test::deadline(), patient, &wake);
      if (status == Status::ok) received.fetch_add(1);
      ASSERT_TRUE(status == Status::ok || wake == Wake::interrupted);
    });
    // Sends from 40 us before to 20 us after the hasty one's end.
    std::int64_t const offset = static_cast<std::int64_t>(round % 61) * 1000 - 40'000;
    while (hasty_until == 0 || now_ns() < hasty_until + offset) spin_pause(64);
    Message message;
    ASSERT_TRUE(fill(message, 20, {0, round}));
    ASSERT_EQ(channel->try_send(message), Status::ok);
    first.join();
    if (received.load() == 0) ++passed_on;
    second.join();
    ASSERT_EQ(received.load(), 1);
  }
  RecordProperty("passed_on", static_cast<int>(passed_on));
}

/// As Python receives: what spinning does not find, sleep waits for.
TEST(Channel, ReceivesInTwoPartsWhatItReceivesInOne) {
  constexpr std::uint64_t kMessages = 20'000;
  const Ref<Channel> channel = open_channel(0);
  std::thread sender([&] {
    for (std::uint64_t number = 0; number < kMessages; ++number) {
      ASSERT_EQ(send(*channel, test::kStampBytes, {0, number}), Status::ok);
    }
    channel->close();
  });
  ThreadWaiter me;
  Wake wake{};
  std::uint64_t received = 0;
  for (;; ++received) {
    Message message;
    std::int64_t const started_ns = now_ns();
    Status status = channel->receive_soon(message, started_ns, test::deadline());
    if (status == Status::empty) {
      status = channel->receive_later(message, started_ns, test::deadline(), me, &wake);
    }
    if (status == Status::closed) break;
    ASSERT_EQ(status, Status::ok);
    test::Stamp stamp{};
    ASSERT_TRUE(test::read_record(message.bytes(), &stamp));
    ASSERT_EQ(stamp.number, received);
  }
  sender.join();
  EXPECT_EQ(received, kMessages);
}

TEST(Channel, NeverSleepsForWhatComesSoon) {
  const Ref<Channel> channel = Channel::create(0);
  Message message;
  EXPECT_EQ(channel->receive_soon(message, now_ns(), kNoDeadline), Status::empty);
}

/// Closing while senders and receivers are at work, or asleep: every message that was accepted is
/// received, and everybody returns.
TEST(Channel, LosesNothingToACloseAtTheSameTime) {
  for (std::uint64_t round = 0; round < scaled(1'000); ++round) {
    const Ref<Channel> channel = open_channel(round % 3 == 0 ? 0 : 64);
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> received{0};
    {
      std::vector<std::jthread> threads;
      for (std::uint32_t id = 0; id < 2; ++id) {
        threads.emplace_back([&, id] {
          for (std::uint64_t number = 0; number < 200; ++number) {
            const Status status = send(*channel, 16, {id, number});
            if (status == Status::closed) return;
            ASSERT_EQ(status, Status::ok);
            accepted.fetch_add(1);
          }
        });
      }
      for (int id = 0; id < 2; ++id) {
        threads.emplace_back([&, id] {
          ThreadWaiter me;
          Wake wake{};
          for (;;) {
            Message message;
            Status status = id == 0 ? channel->try_receive(message) : Status::empty;
            if (status == Status::empty) {
              status = channel->receive(message, test::deadline(), me, &wake);
            }
            if (status == Status::closed) return;
            ASSERT_EQ(status, Status::ok);
            received.fetch_add(1);
          }
        });
      }
      for (std::uint64_t turn = 0; turn < round % 200; ++turn) spin_pause(64);
      channel->close();
      Message late;
      ASSERT_EQ(channel->try_send(late), Status::closed);
    }
    ASSERT_EQ(received.load(), accepted.load());
    ASSERT_EQ(channel->size(), 0U);
    ASSERT_EQ(channel->data_waiters().waiting() + channel->space_waiters().waiting(), 0U);
  }
}

#ifdef PENSTOCK_FAIL_POINTS
std::atomic<int> sender_at{0};  // 1: holds an open claim, 2: may commit.

void stop_before_commit(const char* name) noexcept {
  if (std::string_view(name) != "queue.commit.before" || sender_at != 0) return;
  sender_at = 1;
  while (sender_at != 2) sched_yield();
}

/// A close that overtook a send woke the receivers while that message was not yet committed; they
/// went back to sleep, the commit woke one, and the others never learned that the end had come.
TEST(Channel, EveryReceiverLearnsOfTheEndWhenACloseOvertakesASend) {
  const Ref<Channel> channel = open_channel(0);
  sender_at = 0;
  fail_point_hook = stop_before_commit;
  std::jthread const sender([&] { EXPECT_EQ(send(*channel, 16, {0, 0}), Status::ok); });
  test::Patience patience;
  while (sender_at != 1) ASSERT_TRUE(patience.another_turn());
  channel->close();
  std::atomic<int> received{0};
  {
    std::vector<std::jthread> receivers;
    for (int id = 0; id < 3; ++id) {
      receivers.emplace_back([&] {
        ThreadWaiter me;
        Wake wake{};
        Message message;
        const Status status = channel->receive(message, test::deadline(), me, &wake);
        if (status == Status::ok) received.fetch_add(1);
        EXPECT_TRUE(status == Status::ok || status == Status::closed);
      });
    }
    while (channel->data_waiters().waiting() != 3) ASSERT_TRUE(patience.another_turn());
    sender_at = 2;
  }
  fail_point_hook = nullptr;
  EXPECT_EQ(received.load(), 1);
}
#endif

TEST(Channel, WakesEveryWaiterOfEveryKindWhenItCloses) {
  for (std::uint64_t round = 0; round < scaled(800); ++round) {
    const Ref<Channel> channel = open_channel(16);
    const bool full = round % 2 == 0;
    ASSERT_EQ(full ? send(*channel, 16, {0, 0}) : Status::ok, Status::ok);
    std::vector<std::jthread> threads;
    for (int id = 0; id < 3; ++id) {
      threads.emplace_back([&] {
        ThreadWaiter me;
        Wake wake{};
        Message message;
        if (full) {
          ASSERT_TRUE(fill(message, 16, {1, 1}));
          EXPECT_EQ(channel->send(message, test::deadline(), me, &wake), Status::closed);
        } else {
          EXPECT_EQ(channel->receive(message, test::deadline(), me, &wake), Status::closed);
        }
      });
    }
    // From "nobody waits yet" to "all do".
    WaitList& line = full ? channel->space_waiters() : channel->data_waiters();
    test::Patience patience;
    while (line.waiting() < round % 4) ASSERT_TRUE(patience.another_turn());
    channel->close();
  }
}

/// The last sender goes while receivers are about to sleep.
TEST(Channel, LosesNothingToTheLastSendersEndAtTheSameTime) {
  for (std::uint64_t round = 0; round < scaled(3'000); ++round) {
    const Ref<Channel> channel = open_channel(0);
    std::jthread const sender([&] {
      for (std::uint64_t turn = 0; turn < round % 50; ++turn) spin_pause(0);
      EXPECT_EQ(send(*channel, 16, {0, 0}), Status::ok);
      channel->remove_sender();
    });
    ThreadWaiter me;
    Wake wake{};
    Message message;
    ASSERT_EQ(channel->receive(message, test::deadline(), me, &wake), Status::ok);
    message.clear();
    ASSERT_EQ(channel->receive(message, test::deadline(), me, &wake), Status::closed);
  }
}

}  // namespace
}  // namespace penstock
