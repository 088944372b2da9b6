// SPDX-License-Identifier: Apache-2.0
// MpscRing under load, from several threads.
#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "penstock/mpsc_ring.hpp"
#include "support.hpp"

namespace penstock {
namespace {

using test::RingMemory;
using test::scaled;

class MpscRingWithProducers : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Producers, MpscRingWithProducers, testing::Values(1U, 2U, 4U));

TEST_P(MpscRingWithProducers, KeepsTheOrderOfEach) {
  constexpr std::uint64_t kCapacity = 1 << 13;
  const unsigned producers = GetParam();
  std::uint64_t const messages = scaled(1'200'000) / producers;
  RingMemory memory(MpscRing::bytes_for(kCapacity));
  MpscRing::format(memory.span(), kCapacity, (std::uint64_t{1} << 32) - 5000);
  std::atomic<unsigned> left{producers};
  std::vector<std::jthread> threads;
  for (unsigned id = 0; id < producers; ++id) {
    threads.emplace_back([&, id] {
      MpscProducer producer(memory.span(), kCapacity);
      test::Random random(id + 1);
      test::Patience patience;
      for (std::uint64_t number = 0; number < messages; ++number) {
        std::size_t const bytes = test::kStampBytes + random.below(120);
        MpscProducer::Claim claim;
        while (producer.try_claim(bytes, &claim) == Status::full) {
          ASSERT_TRUE(patience.another_turn());
        }
        test::write_record({claim.room, bytes}, {id, number});
        producer.commit(claim);
      }
      if (left.fetch_sub(1) == 1) producer.close();
    });
  }
  MpscConsumer consumer(memory.span(), kCapacity);
  test::OrderCheck order(producers);
  test::Patience patience;
  for (;;) {
    std::span<const std::uint8_t> record;
    const Status status = consumer.peek(&record);
    if (status == Status::closed) break;
    if (status == Status::empty) {
      ASSERT_TRUE(patience.another_turn());
      continue;
    }
    ASSERT_EQ(status, Status::ok);
    ASSERT_TRUE(order.accept(record));
    consumer.consume();
  }
  for (unsigned id = 0; id < producers; ++id) EXPECT_EQ(order.seen(id), messages);
}

/// Tail and head are two words. A producer that was overtaken between reading them computed
/// nonsense and was refused, although the ring was nearly empty.
TEST(MpscRing, IsNeverFullToAProducerThatWasOvertaken) {
  constexpr std::uint64_t kCapacity = 512;
  constexpr unsigned kProducers = 3;  // One granule each at a time, of eight.
  RingMemory memory(MpscRing::bytes_for(kCapacity));
  MpscRing::format(memory.span(), kCapacity);
  std::array<std::atomic<std::uint64_t>, kProducers> received{};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<unsigned> left{kProducers};
  std::vector<std::jthread> threads;
  for (unsigned id = 0; id < kProducers; ++id) {
    threads.emplace_back([&, id] {
      MpscProducer producer(memory.span(), kCapacity);
      test::Patience patience;
      std::uint64_t const messages = scaled(120'000);
      for (std::uint64_t sent = 1; sent <= messages; ++sent) {
        std::uint8_t const record = static_cast<std::uint8_t>(id);
        while (producer.try_send({&record, 1}) != Status::ok) refused.fetch_add(1);
        while (received[id].load(std::memory_order_acquire) != sent) {
          ASSERT_TRUE(patience.another_turn());
        }
      }
      if (left.fetch_sub(1) == 1) producer.close();
    });
  }
  MpscConsumer consumer(memory.span(), kCapacity);
  test::Patience patience;
  for (;;) {
    std::uint8_t id = 0;
    std::size_t bytes = 0;
    const Status status = consumer.try_receive({&id, 1}, &bytes);
    if (status == Status::closed) break;
    if (status == Status::empty) {
      ASSERT_TRUE(patience.another_turn());
      continue;
    }
    ASSERT_LT(id, kProducers);
    consumer.release();
    received[id].fetch_add(1, std::memory_order_release);
  }
  EXPECT_EQ(refused.load(), 0U);
}

TEST(MpscRing, DeliversAllThatWasAcceptedBeforeAConcurrentClose) {
  constexpr std::uint64_t kCapacity = 4096;
  for (std::uint64_t round = 0; round < scaled(2'000); ++round) {
    RingMemory memory(MpscRing::bytes_for(kCapacity));
    MpscRing::format(memory.span(), kCapacity);
    std::atomic<std::uint64_t> accepted{0};
    std::uint64_t received = 0;
    {
      std::vector<std::jthread> threads;
      for (int id = 0; id < 2; ++id) {
        threads.emplace_back([&] {
          MpscProducer producer(memory.span(), kCapacity);
          for (;;) {
            const Status status = producer.try_send(std::array<std::uint8_t, 8>{});
            if (status == Status::closed) return;
            if (status == Status::ok) accepted.fetch_add(1);
            if (status == Status::full) sched_yield();
          }
        });
      }
      MpscConsumer consumer(memory.span(), kCapacity);
      MpscProducer closer(memory.span(), kCapacity);
      std::array<std::uint8_t, 8> room{};
      std::size_t bytes = 0;
      test::Patience patience;
      for (;;) {
        const Status status = consumer.try_receive(room, &bytes);
        if (status == Status::closed) break;
        ASSERT_TRUE(status == Status::ok || status == Status::empty);
        if (status == Status::ok && ++received == 40 + round % 64) closer.close();
        ASSERT_TRUE(status == Status::ok || patience.another_turn());
      }
    }
    ASSERT_EQ(received, accepted.load());
  }
}

}  // namespace
}  // namespace penstock
