// SPDX-License-Identifier: Apache-2.0
// Messages of shared byte channels that are read where they lie.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "penstock/bytes.hpp"
#include "shared_processes.hpp"
#include "support.hpp"

namespace penstock {
namespace {

using test::header_of;
using test::memory_of;
using test::Processes;
using test::soon;
using test::until_waiting_near;

constexpr std::size_t kSize = 10'000;

Status send(Channel& channel, std::uint8_t fill, std::size_t size = kSize,
            std::int64_t deadline_ns = 0) {
  Message message;
  EXPECT_TRUE(bytes::copy_into(message, std::vector<std::uint8_t>(size, fill)));
  if (deadline_ns == 0) return channel.try_send(message);
  ThreadWaiter me;
  ThreadWaiter::Wake wake{};
  return channel.send(message, deadline_ns, me, &wake);
}

using Taken = std::unique_ptr<Message>;

/// nullptr: there is none.
Taken take(Channel& channel) {
  auto message = std::make_unique<Message>();
  message->take_in_place();
  return channel.try_receive(*message) == Status::ok ? std::move(message) : nullptr;
}

bool is_in_place(const Message& message) { return bytes::view(message).pinned != nullptr; }

bool is_all(const Message& message, std::uint8_t fill) {
  const auto found = bytes::view(message).bytes;
  return std::ranges::all_of(found, [fill](std::uint8_t byte) { return byte == fill; });
}

struct SharedInPlace : testing::Test {
  explicit SharedInPlace(std::uint64_t max_size = 1 << 18)
      : on(3, max_size, Channel::Content::bytes) {
    on[0].add_sender();
  }
  Processes on;
};

TEST_F(SharedInPlace, IsNotCopiedAndKeepsItsRoom) {
  ASSERT_EQ(send(on[0], 1), Status::ok);
  std::uint64_t const size = on[0].size();
  Taken taken = take(on[1]);
  ASSERT_TRUE(taken && is_in_place(*taken));
  EXPECT_EQ(bytes::view(*taken).bytes.size(), kSize);
  EXPECT_TRUE(is_all(*taken, 1));
  EXPECT_EQ(on[0].size(), size);
  EXPECT_EQ(take(on[1]), nullptr);
  taken.reset();
  EXPECT_EQ(on[0].size(), 0U);
}

/// The first process trusts nobody; small ones are copied faster; without being asked for nothing
/// is lent.
TEST_F(SharedInPlace, IsCopiedOtherwise) {
  for (const auto& [process, size, asks] : {std::tuple{0U, kSize, true},
                                            {1U, SharedQueue::kLeastInPlace - 1, true},
                                            {1U, kSize, false}}) {
    ASSERT_EQ(send(on[2], 5, size), Status::ok);
    Message message;
    if (asks) message.take_in_place();
    ASSERT_EQ(on[process].try_receive(message), Status::ok);
    EXPECT_FALSE(is_in_place(message));
    EXPECT_TRUE(is_all(message, 5));
    EXPECT_EQ(on[0].size(), 0U);
  }
}

TEST_F(SharedInPlace, RoomComesBackUpToTheOldestThatIsRead) {
  for (std::uint8_t fill = 1; fill <= 4; ++fill) ASSERT_EQ(send(on[0], fill), Status::ok);
  std::uint64_t const one = on[0].size() / 4;
  Taken first = take(on[1]);
  Taken second = take(on[2]);
  Message third;  // Copied between them.
  ASSERT_EQ(on[1].try_receive(third), Status::ok);
  Taken fourth = take(on[1]);
  ASSERT_TRUE(first && second && fourth);
  EXPECT_TRUE(is_all(*fourth, 4));
  second.reset();
  EXPECT_EQ(on[0].size(), 4 * one);
  first.reset();
  EXPECT_EQ(on[0].size(), one);
  ASSERT_EQ(send(on[2], 9), Status::ok);
  EXPECT_TRUE(is_all(*fourth, 4));
  fourth.reset();
  EXPECT_EQ(on[0].size(), one);
  Taken last = take(on[2]);
  ASSERT_TRUE(last && is_all(*last, 9));
}

/// Neither their number nor what lies behind the oldest grows for ever.
TEST_F(SharedInPlace, IsBounded) {
  std::deque<Taken> kept;
  std::size_t in_place = 0;
  for (unsigned i = 0; i < 2 * SharedHeader::kLeases; ++i) {
    ASSERT_EQ(send(on[0], static_cast<std::uint8_t>(i)), Status::ok);
    kept.push_back(take(on[1]));
    ASSERT_TRUE(kept.back());
    if (is_in_place(*kept.back())) ++in_place;
  }
  EXPECT_EQ(in_place, std::size_t{SharedHeader::kLeases});
  for (unsigned i = 0; i < kept.size(); ++i) {
    EXPECT_TRUE(is_all(*kept[i], static_cast<std::uint8_t>(i)));
  }
  kept.clear();
  EXPECT_EQ(on[0].size(), 0U);

  // One that is kept for long: from half of the ring on the others are copied.
  ASSERT_EQ(send(on[0], 1), Status::ok);
  const Taken oldest = take(on[1]);
  std::uint64_t passed = 0;
  while (send(on[0], 2, 100'000) == Status::ok) {
    passed += 100'000;
    const Taken next = take(on[2]);
    ASSERT_TRUE(next);
    auto& queue = static_cast<SharedQueue&>(*on[0].shared());
    EXPECT_FALSE(is_in_place(*next) && passed > queue.shape().capacity / 2);
  }
  EXPECT_TRUE(is_all(*oldest, 1));
}

TEST_F(SharedInPlace, WhoWaitsForRoomIsWokenByItsEnd) {
  for (std::size_t sender : {0U, 1U, 2U}) {
    ASSERT_EQ(send(on[0], 1), Status::ok);
    Taken taken = take(on[1]);
    while (send(on[0], 2, 100'000) == Status::ok) {
    }
    for (Message message; on[2].try_receive(message) == Status::ok; message.reset()) {
    }
    while (send(on[0], 2, 100'000) == Status::ok) {
      for (Message message; on[2].try_receive(message) == Status::ok; message.reset()) {
      }
    }
    std::thread waits([&] { EXPECT_EQ(send(on[sender], 3, 100'000, soon()), Status::ok); });
    until_waiting_near(on[sender].space_waiters(), 1);
    taken.reset();
    waits.join();
    for (Message message; on[2].try_receive(message) == Status::ok; message.reset()) {
    }
    EXPECT_EQ(on[0].size(), 0U);
  }
}

/// Who ends it while another one takes a message is not waited for: that one looks after it.
TEST_F(SharedInPlace, EndsAlsoWhileAProcessDiesTakingAMessage) {
  const Segment memory = memory_of(on[0]);
  ASSERT_EQ(send(on[0], 1), Status::ok);
  Taken taken = take(on[1]);
  header_of(memory).consumer.store(3, order::relaxed);  // Process 2.
  taken.reset();
  EXPECT_NE(on[0].size(), 0U);
  on.domains[0]->ended(2);
  while (on.domains[0]->admit() != 2U) std::this_thread::yield();
  EXPECT_EQ(on[0].size(), 0U);
}

/// Its claim lies behind what is read in place: nobody waits for it, and its room comes back.
TEST_F(SharedInPlace, AClaimOfTheDeadBehindItIsPassed) {
  ASSERT_EQ(send(on[0], 1), Status::ok);
  Taken taken = take(on[1]);
  {
    const Segment memory = memory_of(on[0]);
    MpscProducer::Claim claim;
    ASSERT_EQ(test::producer_in(memory, 3).try_claim(100'000, &claim), Status::ok);
  }
  on.domains[0]->ended(2);
  while (on.domains[0]->admit() != 2U) std::this_thread::yield();
  on[0].remove_sender();
  Message message;
  EXPECT_EQ(on[1].receive_or_wait(message), Status::closed);
  EXPECT_EQ(on[0].receive_or_wait(message), Status::closed);
  taken.reset();
  EXPECT_EQ(on[0].size(), 0U);
  on[0].add_sender();
}

/// What a process read, or was about to read, when it died.
TEST_F(SharedInPlace, TheDeadReadNothing) {
  for (const bool is_taken : {true, false}) {
    ASSERT_EQ(send(on[0], 1), Status::ok);
    ASSERT_EQ(send(on[0], 2), Status::ok);
    Taken first = take(on[1]);
    const Segment memory = memory_of(on[0]);
    SharedHeader& header = header_of(memory);
    std::uint64_t const next = header.next.load(order::relaxed);
    header.leases[5].store(next << 8 | 3, order::relaxed);  // Process 2's.
    header.consumer.store(3, order::relaxed);
    if (is_taken) header.next.store((next + (kSize + 63) / 64) & 0xFFFFFFFFFFF, order::relaxed);
    on.domains[0]->ended(2);
    while (on.domains[0]->admit() != 2U) std::this_thread::yield();
    const Taken second = take(on[1]);
    EXPECT_EQ(second == nullptr, is_taken);
    EXPECT_TRUE(is_all(*first, 1));
    first.reset();
  }
  EXPECT_EQ(on[0].size(), 0U);
}

/// Nothing is overwritten while it is read, nothing is lost, and all room comes back.
TEST_F(SharedInPlace, IsNeverOverwritten) {
  const auto each = static_cast<unsigned>(test::scaled(4000));
  std::vector<std::thread> threads;
  std::vector<std::uint64_t> sums(3);
  for (std::size_t sender : {0U, 1U}) {
    if (sender == 1) on[1].add_sender();
    threads.emplace_back([&, sender] {
      std::mt19937 random(static_cast<unsigned>(sender));
      for (unsigned i = 0; i < each; ++i) {
        const auto fill = static_cast<std::uint8_t>(random());
        ASSERT_EQ(send(on[sender], fill, 1000 + random() % 30'000, soon()), Status::ok);
      }
    });
  }
  for (std::size_t receiver : {1U, 2U}) {
    threads.emplace_back([&, receiver] {
      std::mt19937 random(static_cast<unsigned>(receiver));
      std::deque<std::pair<Taken, std::uint8_t>> kept;
      for (;;) {
        Taken message = std::make_unique<Message>();
        message->take_in_place();
        ThreadWaiter me;
        ThreadWaiter::Wake wake{};
        // Who keeps what others wait for would wait for himself.
        const bool may_wait = kept.empty();
        const Status status = may_wait ? on[receiver].receive(*message, soon(), me, &wake)
                                       : on[receiver].try_receive(*message);
        if (status == Status::closed) break;
        if (status == Status::ok) {
          ++sums[receiver];
          std::uint8_t const fill = bytes::view(*message).bytes[0];
          kept.emplace_back(std::move(message), fill);
          if (kept.size() < 4) continue;
        } else {
          ASSERT_FALSE(may_wait) << static_cast<int>(status);
        }
        const auto at = static_cast<std::ptrdiff_t>(random() % kept.size());
        ASSERT_TRUE(is_all(*kept[static_cast<std::size_t>(at)].first,
                           kept[static_cast<std::size_t>(at)].second));
        kept.erase(kept.begin() + at);
      }
      for (const auto& [message, fill] : kept) ASSERT_TRUE(is_all(*message, fill));
    });
  }
  threads[0].join();
  threads[1].join();
  on[0].close();
  threads[2].join();
  threads[3].join();
  EXPECT_EQ(sums[1] + sums[2], 2 * each);
  EXPECT_EQ(on[0].size(), 0U);
}

}  // namespace
}  // namespace penstock
