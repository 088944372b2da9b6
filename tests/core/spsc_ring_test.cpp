// SPDX-License-Identifier: Apache-2.0
#include "penstock/spsc_ring.hpp"

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <optional>
#include <thread>

#include "support.hpp"

namespace penstock {
namespace {

using test::RingMemory;
using test::scaled;

/// A ring, both its roles, and a copy of what it should hold.
struct Ring {
  explicit Ring(std::uint64_t bytes, std::uint64_t position = 0)
      : capacity(bytes), memory(SpscRing::bytes_for(bytes)) {
    SpscRing::format(memory.span(), capacity, position);
    producer.emplace(memory.span(), capacity);
    consumer.emplace(memory.span(), capacity);
  }

  Status send(std::size_t bytes) {
    std::vector<std::uint8_t> record(bytes);
    for (std::size_t i = 0; i < bytes; ++i) {
      record[i] = static_cast<std::uint8_t>(sent + 31 * i);
    }
    const Status status = producer->try_send(record);
    if (status == Status::ok) {
      queued.push_back(std::move(record));
      ++sent;
    }
    return status;
  }
  /// Receives one record and compares it.
  void expect_oldest() {
    std::span<const std::uint8_t> record;
    ASSERT_EQ(consumer->peek(&record), Status::ok);
    ASSERT_TRUE(
        std::equal(record.begin(), record.end(), queued.front().begin(), queued.front().end()));
    queued.pop_front();
    consumer->consume();
  }
  void expect_empty() {
    std::span<const std::uint8_t> record;
    ASSERT_EQ(consumer->peek(&record), Status::empty);
  }

  std::uint64_t capacity;
  RingMemory memory;
  std::optional<SpscProducer> producer;
  std::optional<SpscConsumer> consumer;
  std::deque<std::vector<std::uint8_t>> queued;
  std::size_t sent = 0;
};

/// Every offset of the ring, where positions are small, next to 2^32, and next to 2^64.
std::vector<std::uint64_t> start_positions(std::uint64_t capacity) {
  std::vector<std::uint64_t> starts;
  for (std::uint64_t const base : {std::uint64_t{0}, std::uint64_t{1} << 32, std::uint64_t{0}}) {
    std::uint64_t const from = starts.empty() ? 0 : base - capacity;
    for (std::uint64_t offset = 0; offset < 2 * capacity; offset += 8) {
      starts.push_back(from + offset);
    }
  }
  return starts;
}

TEST(SpscRing, IsEmptyWhenFormatted) {
  Ring ring(64);
  ring.expect_empty();
}

TEST(SpscRing, DeliversAnEmptyRecord) {
  Ring ring(64);
  ASSERT_EQ(ring.send(0), Status::ok);
  ring.expect_oldest();
  ring.expect_empty();
}

TEST(SpscRing, TakesARecordOfMaxSizeAtEveryOffsetAndRefusesOneByteMore) {
  for (std::uint64_t const capacity : {16U, 32U, 64U, 128U, 1024U}) {
    for (std::uint64_t const start : start_positions(capacity)) {
      Ring ring(capacity, start);
      std::size_t const most = SpscRing::max_record(capacity);
      ASSERT_EQ(ring.send(most + 1), Status::too_large);
      ASSERT_EQ(ring.send(most), Status::ok) << "capacity " << capacity << " start " << start;
      ring.expect_oldest();
      ring.expect_empty();
    }
  }
}

TEST(SpscRing, CarriesEveryPairOfSizesFromEveryOffset) {
  for (std::uint64_t const capacity : {16U, 32U, 64U, 128U}) {
    std::size_t const most = SpscRing::max_record(capacity);
    for (std::uint64_t const start : start_positions(capacity)) {
      for (std::size_t first = 0; first <= most; ++first) {
        for (std::size_t second = 0; second <= most; ++second) {
          Ring ring(capacity, start);
          ASSERT_EQ(ring.send(first), Status::ok);
          const Status status = ring.send(second);
          ASSERT_TRUE(status == Status::ok || status == Status::full);
          ring.expect_oldest();
          if (status == Status::ok) ring.expect_oldest();
          ring.expect_empty();
          // Now it is empty, the same fits whatever was refused before.
          ASSERT_EQ(ring.send(second), Status::ok);
          ring.expect_oldest();
        }
      }
    }
  }
}

/// Fills to the brim and drains again and again with one size: refused exactly when the record,
/// and the padding it needs, is more than the room that was given back.
TEST(SpscRing, IsFullExactlyWhenNoRoomIsLeft) {
  for (std::uint64_t const capacity : {16U, 32U, 64U, 128U}) {
    for (std::size_t bytes = 0; bytes <= SpscRing::max_record(capacity); ++bytes) {
      Ring ring(capacity, std::uint64_t{0} - 8 * capacity);
      std::uint64_t const need = SpscRing::kHeaderBytes + (bytes + 7) / 8 * 8;
      std::uint64_t tail = 0;
      for (int turn = 0; turn < 40; ++turn) {
        std::uint64_t const head = tail;
        for (;;) {
          std::uint64_t const to_end = capacity - tail % capacity;
          std::uint64_t const end = tail + (need > to_end ? to_end : 0) + need;
          const Status status = ring.send(bytes);
          ASSERT_EQ(status, end - head <= capacity ? Status::ok : Status::full)
              << "capacity " << capacity << " bytes " << bytes << " turn " << turn;
          if (status == Status::full) break;
          tail = end;
        }
        while (!ring.queued.empty()) ring.expect_oldest();
        ring.expect_empty();
      }
    }
  }
}

TEST(SpscRing, MixesRandomSizesForManyLaps) {
  for (std::uint64_t const capacity : {16U, 32U, 64U, 256U, 1024U}) {
    Ring ring(capacity, (std::uint64_t{1} << 32) - 4 * capacity);
    test::Random random(capacity);
    for (std::uint64_t step = 0; step < scaled(100'000); ++step) {
      if (random.below(2) == 0) {
        const Status status = ring.send(random.below(SpscRing::max_record(capacity) + 1));
        ASSERT_TRUE(status == Status::ok || status == Status::full);
      } else if (!ring.queued.empty()) {
        ring.expect_oldest();
      } else {
        ring.expect_empty();
      }
    }
  }
}

TEST(SpscRing, ShowsCommittedRecordsOnlyOncePublished) {
  Ring ring(256);
  for (std::uint8_t i = 0; i < 3; ++i) {
    std::uint8_t* room = nullptr;
    ASSERT_EQ(ring.producer->try_claim(1, &room), Status::ok);
    *room = i;
    ring.producer->commit();
    ring.expect_empty();
  }
  ring.producer->publish();
  for (std::uint8_t i = 0; i < 3; ++i) {
    std::span<const std::uint8_t> record;
    ASSERT_EQ(ring.consumer->peek(&record), Status::ok);
    ASSERT_EQ(record.size(), 1U);
    EXPECT_EQ(record[0], i);
    ring.consumer->consume();
  }
  ring.expect_empty();
}

TEST(SpscRing, KeepsARecordThatDoesNotFitTheReceiversRoom) {
  Ring ring(256);
  ASSERT_EQ(ring.send(10), Status::ok);
  std::array<std::uint8_t, 10> room{};
  std::size_t bytes = 0;
  EXPECT_EQ(ring.consumer->try_receive(std::span(room).first(9), &bytes), Status::too_large);
  EXPECT_EQ(ring.consumer->try_receive(room, &bytes), Status::ok);
  EXPECT_EQ(bytes, 10U);
  EXPECT_EQ(ring.consumer->try_receive(room, &bytes), Status::empty);
}

TEST(SpscRing, IsClosedOnlyWhenDrained) {
  Ring ring(256);
  ASSERT_EQ(ring.send(5), Status::ok);
  std::uint8_t* room = nullptr;
  ASSERT_EQ(ring.producer->try_claim(6, &room), Status::ok);
  std::memset(room, 0, 6);
  ring.producer->commit();
  ring.producer->close();  // Publishes what is committed.
  EXPECT_EQ(ring.send(1), Status::closed);
  ring.expect_oldest();
  std::span<const std::uint8_t> record;
  ASSERT_EQ(ring.consumer->peek(&record), Status::ok);
  EXPECT_EQ(record.size(), 6U);
  ring.consumer->consume();
  EXPECT_EQ(ring.consumer->peek(&record), Status::closed);
  EXPECT_EQ(ring.consumer->peek(&record), Status::closed);
}

TEST(SpscRing, LetsARoleMoveToAnotherObject) {
  Ring ring(64, 40);
  ASSERT_EQ(ring.send(3), Status::ok);
  ASSERT_EQ(ring.send(4), Status::ok);
  ring.expect_oldest();
  ring.consumer->release();
  ring.producer.emplace(ring.memory.span(), ring.capacity);
  ring.consumer.emplace(ring.memory.span(), ring.capacity);
  ASSERT_EQ(ring.send(5), Status::ok);
  ring.expect_oldest();
  ring.expect_oldest();
  ring.expect_empty();
}

/// A producer made for a ring that was closed took the closed bit for a part of its position.
TEST(SpscRing, IsClosedToALaterProducerToo) {
  Ring ring(64);
  ASSERT_EQ(ring.send(3), Status::ok);
  ring.producer->close();
  ring.producer.emplace(ring.memory.span(), ring.capacity);
  EXPECT_EQ(ring.send(3), Status::closed);
  ring.expect_oldest();
  std::span<const std::uint8_t> record;
  EXPECT_EQ(ring.consumer->peek(&record), Status::closed);
}

TEST(SpscRing, AttachRefusesWhatIsNotSuchARing) {
  RingMemory memory(SpscRing::bytes_for(4096));
  EXPECT_FALSE(SpscRing::attach(memory.span(), 4096));
  SpscRing::format(memory.span(), 4096);
  EXPECT_TRUE(SpscRing::attach(memory.span(), 4096));
  EXPECT_FALSE(SpscRing::attach(memory.span(), 2048));
  EXPECT_FALSE(SpscRing::attach(memory.span(), 8192));
  EXPECT_FALSE(SpscRing::attach(memory.span().first(SpscRing::bytes_for(4096) - 1), 4096));
  ring::format(memory.span(), RingKind::mpsc, 4096, 0, 0);
  EXPECT_FALSE(SpscRing::attach(memory.span(), 4096));
}

/// A capacity named by a peer that is too small for one header made lengths wrap around.
TEST(SpscRing, AttachRefusesACapacityWithoutRoomForARecord) {
  RingMemory memory(SpscRing::bytes_for(64));
  for (std::uint64_t const capacity : {0U, 1U, 2U, 4U, 8U, 24U}) {
    ring::format(memory.span(), RingKind::spsc, capacity, 0, 0);
    EXPECT_FALSE(SpscRing::attach(memory.span(), capacity)) << capacity;
  }
}

/// A position that is no multiple of 8, left by a hostile peer, made a role that took over write
/// or read a header across the end of the ring.
TEST(SpscRing, TakesOverHostilePositionsWithoutLeavingTheRing) {
  for (std::uint64_t odd = 0; odd < 64; ++odd) {
    for (std::uint64_t behind = 0; behind < 80; ++behind) {
      Ring ring(64);
      auto* const header = reinterpret_cast<RingHeader*>(ring.memory.span().data());
      header->tail.store(odd, order::relaxed);
      header->head.store(odd - behind, order::relaxed);
      ring.producer.emplace(ring.memory.span(), ring.capacity);
      ring.consumer.emplace(ring.memory.span(), ring.capacity);
      for (int i = 0; i < 8; ++i) (void)ring.producer->try_send(std::array<std::uint8_t, 24>{});
      std::span<const std::uint8_t> record;
      for (int i = 0; i < 8 && ring.consumer->peek(&record) == Status::ok; ++i) {
        for (std::uint8_t const byte : record) EXPECT_EQ(byte, byte);
        ring.consumer->consume();
      }
    }
  }
}

/// Whatever stands in the shared memory, the consumer reads inside the ring and comes to an end.
TEST(SpscRing, SurvivesScribbledHeadersAndRecords) {
  test::Random random(7);
  for (std::uint64_t round = 0; round < scaled(60'000); ++round) {
    Ring ring(128);
    for (int i = 0; i < 4; ++i) (void)ring.send(random.below(24));
    auto words = ring.memory.span().size() / 4;
    for (int i = 0; i < 6; ++i) {
      std::uint32_t const values[] = {
          0,   1,          2,          8,          127,
          128, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFF8, static_cast<std::uint32_t>(random.next())};
      std::uint32_t const value = values[random.below(std::size(values))];
      std::size_t const at = random.below(3) == 0 ? 128 / 4 + random.below(2) : random.below(words);
      std::memcpy(ring.memory.span().data() + 4 * at, &value, 4);
    }
    std::span<const std::uint8_t> record;
    unsigned sum = 0;
    for (int i = 0; i < 64; ++i) {
      const Status status = ring.consumer->peek(&record);
      if (status != Status::ok) {
        ASSERT_TRUE(status == Status::corrupt || status == Status::empty ||
                    status == Status::closed);
        break;
      }
      ASSERT_GE(record.data(), ring.memory.span().data());
      ASSERT_LE(record.data() + record.size(),
                ring.memory.span().data() + ring.memory.span().size());
      for (std::uint8_t const byte : record) sum += byte;
      ring.consumer->consume();
    }
    for (int i = 0; i < 16; ++i) (void)ring.producer->try_send(std::array<std::uint8_t, 40>{});
    EXPECT_NE(sum, ~0U);
  }
}

TEST(SpscRing, TellsTheProducerOfAHeadThatCannotBe) {
  Ring ring(64);
  auto* const header = reinterpret_cast<RingHeader*>(ring.memory.span().data());
  while (ring.send(8) == Status::ok) {
  }
  for (std::uint64_t const head : {std::uint64_t{4}, std::uint64_t{72}, ~std::uint64_t{7}}) {
    header->head.store(head, order::relaxed);
    EXPECT_EQ(ring.producer->try_send(std::array<std::uint8_t, 8>{}), Status::corrupt) << head;
  }
}

TEST(SpscRing, KeepsOrderBetweenTwoThreads) {
  constexpr std::uint64_t kCapacity = 1 << 12;
  std::uint64_t const messages = scaled(2'000'000);
  RingMemory memory(SpscRing::bytes_for(kCapacity));
  SpscRing::format(memory.span(), kCapacity, std::uint64_t{0} - (1 << 20));
  std::jthread const sender([&] {
    SpscProducer producer(memory.span(), kCapacity);
    test::Random random(1);
    test::Patience patience;
    for (std::uint64_t number = 0; number < messages; ++number) {
      std::size_t const bytes = test::kStampBytes + random.below(90);
      std::uint8_t* room = nullptr;
      while (producer.try_claim(bytes, &room) == Status::full) {
        producer.publish();
        ASSERT_TRUE(patience.another_turn());
      }
      test::write_record({room, bytes}, {0, number});
      producer.commit();
      if (random.below(4) != 0) producer.publish();
    }
    producer.close();
  });
  SpscConsumer consumer(memory.span(), kCapacity);
  test::OrderCheck order(1);
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
  EXPECT_EQ(order.seen(0), messages);
}

}  // namespace
}  // namespace penstock
