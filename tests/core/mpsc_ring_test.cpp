// SPDX-License-Identifier: Apache-2.0
#include "penstock/mpsc_ring.hpp"

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <optional>

#include "support.hpp"

namespace penstock {
namespace {

using test::RingMemory;
using test::scaled;

constexpr std::uint64_t kGranule = MpscRing::kGranule;

/// A ring, a producer, its consumer, and a copy of what it should hold.
struct Ring {
  explicit Ring(std::uint64_t bytes, std::uint64_t granule = 0)
      : capacity(bytes), memory(MpscRing::bytes_for(bytes)) {
    MpscRing::format(memory.span(), capacity, granule);
    producer.emplace(memory.span(), capacity);
    consumer.emplace(memory.span(), capacity);
  }

  Status send(std::size_t bytes) {
    std::vector<std::uint8_t> record(bytes);
    for (std::size_t i = 0; i < bytes; ++i) record[i] = static_cast<std::uint8_t>(sent + 31 * i);
    const Status status = producer->try_send(record);
    if (status == Status::ok) {
      queued.push_back(std::move(record));
      ++sent;
    }
    return status;
  }
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
  [[nodiscard]] RingHeader* header() const {
    return reinterpret_cast<RingHeader*>(memory.span().data());
  }

  std::uint64_t capacity;
  RingMemory memory;
  std::optional<MpscProducer> producer;
  std::optional<MpscConsumer> consumer;
  std::deque<std::vector<std::uint8_t>> queued;
  std::size_t sent = 0;
};

/// Every offset of the ring, where positions are small, next to 2^32, and next to 2^62.
std::vector<std::uint64_t> start_granules(std::uint64_t capacity) {
  std::uint64_t const granules = capacity / kGranule;
  std::vector<std::uint64_t> starts;
  for (const unsigned power : {0U, 32U, 62U}) {
    std::uint64_t const from = power == 0 ? 0 : (std::uint64_t{1} << power) - granules;
    for (std::uint64_t offset = 0; offset < 2 * granules; ++offset) starts.push_back(from + offset);
  }
  return starts;
}

/// Next to 2^62 granules a lap's stamp used to be 0, and a ring that nobody had written to
/// delivered an empty record.
TEST(MpscRing, IsEmptyWhenFormattedWhereverPositionsStart) {
  for (std::uint64_t const capacity : {256U, 512U, 4096U}) {
    for (std::uint64_t const start : start_granules(capacity)) {
      Ring ring(capacity, start);
      ring.expect_empty();
    }
  }
}

TEST(MpscRing, DeliversAnEmptyRecord) {
  Ring ring(256);
  ASSERT_EQ(ring.send(0), Status::ok);
  ring.expect_oldest();
  ring.expect_empty();
}

TEST(MpscRing, TakesARecordOfMaxSizeAtEveryOffsetAndRefusesOneByteMore) {
  for (std::uint64_t const capacity : {256U, 512U, 1024U, 4096U}) {
    for (std::uint64_t const start : start_granules(capacity)) {
      Ring ring(capacity, start);
      std::size_t const most = MpscRing::max_record(capacity);
      ASSERT_EQ(ring.send(most + 1), Status::too_large);
      ASSERT_EQ(ring.send(most), Status::ok) << "capacity " << capacity << " start " << start;
      ring.expect_oldest();
      ring.expect_empty();
    }
  }
}

TEST(MpscRing, LimitsRecordsToWhatAnEntryCanName) {
  std::uint64_t const capacity = std::uint64_t{1} << 22;
  Ring ring(capacity);
  ASSERT_EQ(MpscRing::max_record(capacity), MpscRing::kPadding - 1);
  ASSERT_EQ(ring.send(MpscRing::kPadding), Status::too_large);
  for (int i = 0; i < 9; ++i) {
    ASSERT_EQ(ring.send(MpscRing::kPadding - 1), Status::ok);
    ring.expect_oldest();
  }
}

TEST(MpscRing, CarriesEveryPairOfSizesFromEveryOffset) {
  std::uint64_t const capacity = 256;
  std::size_t const most = MpscRing::max_record(capacity);
  for (std::uint64_t const start : start_granules(capacity)) {
    for (std::size_t first = 0; first <= most; ++first) {
      for (std::size_t second = first % 3; second <= most; second += test::kShare == 1 ? 1 : 3) {
        Ring ring(capacity, start);
        ASSERT_EQ(ring.send(first), Status::ok);
        const Status status = ring.send(second);
        ASSERT_TRUE(status == Status::ok || status == Status::full);
        ring.expect_oldest();
        if (status == Status::ok) ring.expect_oldest();
        ring.expect_empty();
        ASSERT_EQ(ring.send(second), Status::ok);
        ring.expect_oldest();
      }
    }
  }
}

TEST(MpscRing, IsFullExactlyWhenNoRoomIsLeft) {
  for (std::uint64_t const capacity : {256U, 512U, 1024U}) {
    std::uint64_t const granules = capacity / kGranule;
    for (std::size_t bytes = 0; bytes <= MpscRing::max_record(capacity); bytes += 16) {
      Ring ring(capacity, (std::uint64_t{1} << 32) - 8 * granules);
      std::uint64_t const need = bytes == 0 ? 1 : (bytes + kGranule - 1) / kGranule;
      std::uint64_t tail = 0;
      for (int turn = 0; turn < 40; ++turn) {
        std::uint64_t const head = tail;
        for (;;) {
          std::uint64_t const to_end = granules - tail % granules;
          std::uint64_t const end = tail + (need > to_end ? to_end : 0) + need;
          const Status status = ring.send(bytes);
          ASSERT_EQ(status, end - head <= granules ? Status::ok : Status::full)
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

TEST(MpscRing, MixesRandomSizesForManyLaps) {
  for (std::uint64_t const capacity : {256U, 512U, 2048U}) {
    Ring ring(capacity, (std::uint64_t{1} << 62) - 1000);
    test::Random random(capacity);
    for (std::uint64_t step = 0; step < scaled(100'000); ++step) {
      if (random.below(2) == 0) {
        const Status status = ring.send(random.below(MpscRing::max_record(capacity) + 1));
        ASSERT_TRUE(status == Status::ok || status == Status::full);
      } else if (!ring.queued.empty()) {
        ring.expect_oldest();
      } else {
        ring.expect_empty();
      }
    }
  }
}

TEST(MpscRing, AnUncommittedRecordIsInvisibleAndHoldsBackThoseBehindIt) {
  Ring ring(1024);
  MpscProducer::Claim first, second;
  ASSERT_EQ(ring.producer->try_claim(1, &first), Status::ok);
  ASSERT_EQ(ring.producer->try_claim(2, &second), Status::ok);
  std::memset(second.room, 2, 2);
  ring.producer->commit(second);
  ring.expect_empty();
  *first.room = 1;
  ring.producer->commit(first);
  for (std::size_t bytes = 1; bytes <= 2; ++bytes) {
    std::span<const std::uint8_t> record;
    ASSERT_EQ(ring.consumer->peek(&record), Status::ok);
    EXPECT_EQ(record.size(), bytes);
    EXPECT_EQ(record[0], bytes);
    ring.consumer->consume();
  }
  ring.expect_empty();
}

/// Payload that looks like a commit must not be taken for one.
TEST(MpscRing, NeverTakesStalePayloadForARecord) {
  Ring ring(256);
  std::array<std::uint64_t, 16> forged{};
  for (std::uint64_t lap = 0; lap < 50; ++lap) {
    forged.fill(((lap + 1) << 1 | 1) << 20 | 8);
    const std::span<const std::uint8_t> bytes(reinterpret_cast<std::uint8_t*>(forged.data()), 128);
    ASSERT_EQ(ring.producer->try_send(bytes), Status::ok);
    std::span<const std::uint8_t> record;
    ASSERT_EQ(ring.consumer->peek(&record), Status::ok);
    ASSERT_EQ(record.size(), 128U);
    ring.consumer->consume();
    ring.expect_empty();
  }
}

TEST(MpscRing, KeepsARecordThatDoesNotFitTheReceiversRoom) {
  Ring ring(256);
  ASSERT_EQ(ring.send(10), Status::ok);
  std::array<std::uint8_t, 10> room{};
  std::size_t bytes = 0;
  EXPECT_EQ(ring.consumer->try_receive(std::span(room).first(9), &bytes), Status::too_large);
  EXPECT_EQ(ring.consumer->try_receive(room, &bytes), Status::ok);
  EXPECT_EQ(bytes, 10U);
  EXPECT_EQ(ring.consumer->try_receive(room, &bytes), Status::empty);
}

TEST(MpscRing, IsClosedOnlyWhenDrainedAndEveryClaimIsCommitted) {
  Ring ring(256);
  ASSERT_EQ(ring.send(5), Status::ok);
  MpscProducer::Claim open;
  ASSERT_EQ(ring.producer->try_claim(0, &open), Status::ok);
  MpscProducer(ring.memory.span(), ring.capacity).close();
  EXPECT_EQ(ring.send(1), Status::closed);
  ring.expect_oldest();
  ring.expect_empty();  // Not closed: a claim is open.
  ring.producer->commit(open);
  std::span<const std::uint8_t> record;
  ASSERT_EQ(ring.consumer->peek(&record), Status::ok);
  EXPECT_TRUE(record.empty());
  ring.consumer->consume();
  EXPECT_EQ(ring.consumer->peek(&record), Status::closed);
  EXPECT_EQ(ring.send(1), Status::closed);
}

TEST(MpscRing, AttachRefusesWhatIsNotSuchARing) {
  RingMemory memory(MpscRing::bytes_for(4096));
  EXPECT_FALSE(MpscRing::attach(memory.span(), 4096));
  MpscRing::format(memory.span(), 4096);
  EXPECT_TRUE(MpscRing::attach(memory.span(), 4096));
  EXPECT_FALSE(MpscRing::attach(memory.span(), 2048));
  EXPECT_FALSE(MpscRing::attach(memory.span(), 8192));
  EXPECT_FALSE(MpscRing::attach(memory.span().first(MpscRing::bytes_for(4096) - 1), 4096));
  ring::format(memory.span(), RingKind::spsc, 4096, 0, 0);
  EXPECT_FALSE(MpscRing::attach(memory.span(), 4096));
  for (std::uint64_t const capacity : {0U, 1U, 32U, 64U, 128U, 384U}) {
    ring::format(memory.span(), RingKind::mpsc, capacity, 0, 0);
    EXPECT_FALSE(MpscRing::attach(memory.span(), capacity)) << capacity;
  }
}

TEST(MpscRing, ReportsARecordThatWouldCrossTheEnd) {
  Ring ring(256, 3);
  ASSERT_EQ(ring.send(1), Status::ok);
  auto* const entries = reinterpret_cast<std::uint64_t*>(ring.memory.span().data() + 512);
  entries[3] += 100;
  std::span<const std::uint8_t> record;
  EXPECT_EQ(ring.consumer->peek(&record), Status::corrupt);
}

/// Padding from the very start of the ring let a peer keep the consumer in its loop for ever.
TEST(MpscRing, ReportsPaddingFromTheStartOfTheRing) {
  Ring ring(256);
  auto* const entries = reinterpret_cast<std::uint64_t*>(ring.memory.span().data() + 512);
  entries[0] = std::uint64_t{1} << 20 | MpscRing::kPadding;
  std::span<const std::uint8_t> record;
  EXPECT_EQ(ring.consumer->peek(&record), Status::corrupt);
}

/// Whatever stands in the shared memory, both roles stay inside the ring and come to an end.
TEST(MpscRing, SurvivesScribbledHeadersAndEntries) {
  test::Random random(11);
  for (std::uint64_t round = 0; round < scaled(60'000); ++round) {
    std::uint64_t const lap = random.below(3);
    Ring ring(512, lap * 8 + random.below(8));
    for (int i = 0; i < 4; ++i) (void)ring.send(random.below(200));
    for (int i = 0; i < 5; ++i) {
      std::uint64_t const stamp = ((lap + random.below(2)) << 1 | 1) << 20;
      std::uint64_t const values[] = {0,
                                      ~std::uint64_t{0},
                                      random.next(),
                                      stamp | MpscRing::kPadding,
                                      stamp | random.below(MpscRing::kPadding),
                                      stamp};
      std::uint64_t const value = values[random.below(std::size(values))];
      // The eight entries, tail, head_seen, head.
      std::size_t const places[] = {512 + 8 * random.below(8), 512 + 8 * random.below(8), 128, 136,
                                    256};
      std::memcpy(ring.memory.span().data() + places[random.below(std::size(places))], &value, 8);
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
      ASSERT_GE(record.data(), ring.memory.span().data() + 512 + 64);
      ASSERT_LE(record.data() + record.size(),
                ring.memory.span().data() + ring.memory.span().size());
      for (std::uint8_t const byte : record) sum += byte;
      ring.consumer->consume();
    }
    for (int i = 0; i < 16; ++i) (void)ring.producer->try_send(std::array<std::uint8_t, 200>{});
    EXPECT_NE(sum, ~0U);
  }
}

}  // namespace
}  // namespace penstock
