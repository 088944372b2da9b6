// SPDX-License-Identifier: Apache-2.0
#include "penstock/mpsc_ring.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
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

/// Every offset of the ring, where positions are small, next to 2^32, and where they come round.
std::vector<std::uint64_t> start_granules(std::uint64_t capacity) {
  std::uint64_t const granules = capacity / kGranule;
  std::vector<std::uint64_t> starts;
  for (const unsigned power : {0U, 32U, 44U}) {
    std::uint64_t const from = power == 0 ? 0 : (std::uint64_t{1} << power) - granules;
    for (std::uint64_t offset = 0; offset < 2 * granules; ++offset) starts.push_back(from + offset);
  }
  return starts;
}

/// Where a lap's stamp is 0 a ring that nobody has written to must not
/// deliver an empty record.
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

TEST(MpscRing, LimitsRecordsToWhatATailCanName) {
  std::uint64_t const capacity = std::uint64_t{1} << 27;
  Ring ring(capacity);
  std::size_t const most = MpscRing::max_record(capacity);
  ASSERT_EQ(most, MpscRing::kMaxRecord - 8);
  ASSERT_EQ(ring.send(most + 1), Status::too_large);
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(ring.send(most), Status::ok);
    ring.expect_oldest();
  }
}

/// Beyond 64 KiB lengths are counted in blocks.
TEST(MpscRing, CarriesLongRecordsFromEveryPartOfTheRing) {
  constexpr std::size_t kBlock = std::size_t{64} << 10;
  for (std::uint64_t const capacity : {std::uint64_t{1} << 17, std::uint64_t{1} << 20}) {
    std::size_t const most = MpscRing::max_record(capacity);
    for (std::uint64_t start = 0; start < capacity / kGranule; start += 1023) {
      Ring ring(capacity, start);
      for (std::size_t const bytes : {kBlock - 1, kBlock, kBlock + 1, 2 * kBlock - 8,
                                      2 * kBlock - 7, 3 * kBlock, most - 1, most}) {
        if (bytes > most) continue;
        ASSERT_EQ(ring.send(bytes), Status::ok) << capacity << " " << start << " " << bytes;
        const Status second = ring.send(100);
        ring.expect_oldest();
        if (second == Status::ok) ring.expect_oldest();
        ring.expect_empty();
      }
      ASSERT_EQ(ring.send(most + 1), Status::too_large);
    }
  }
}

TEST(MpscRing, SkipsALongRecordThatADeadProducerLeft) {
  std::uint64_t const capacity = std::uint64_t{1} << 20;
  for (std::uint64_t start = 0; start < capacity / kGranule; start += 777) {
    Ring ring(capacity, start);
    MpscProducer dead(ring.memory.span(), capacity, 7);
    MpscProducer::Claim left;
    ASSERT_EQ(ring.send(10), Status::ok);
    ASSERT_EQ(dead.try_claim(200'000, &left), Status::ok);
    const bool is_behind = ring.send(100'000) == Status::ok;
    ring.expect_oldest();
    ring.expect_empty();
    ASSERT_EQ(ring.consumer->waits_for(), 7);
    ASSERT_EQ(ring.consumer->abort_claims_of(7), Status::ok);
    if (is_behind) ring.expect_oldest();
    ring.expect_empty();
    ASSERT_EQ(ring.send(MpscRing::max_record(capacity)), Status::ok);
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

/// An entry of the first lap.
std::uint64_t entry(std::uint64_t state, std::uint64_t size) { return state << 25 | size; }
constexpr std::uint64_t kClaimed = 1, kCommitted = 2, kAborted = 3;

TEST(MpscRing, ReportsEntriesThatNobodyWrites) {
  for (std::uint64_t const value :
       {entry(kCommitted, 129), entry(kCommitted, (1U << 17) - 1), entry(kAborted, 0),
        entry(kAborted, 5), entry(kAborted, (1U << 17) - 1)}) {
    Ring ring(256);
    std::memcpy(ring.memory.span().data() + 512, &value, sizeof value);
    std::span<const std::uint8_t> record;
    EXPECT_EQ(ring.consumer->peek(&record), Status::corrupt) << std::hex << value;
  }
}

// Dead producers
// ---------------------------------------------------------------------------------------------

/// What a producer that dies leaves: a claim that is not committed, whatever lies before and behind
/// it, from every offset.
TEST(MpscRing, SkipsWhatADeadProducerLeft) {
  for (std::uint64_t const capacity : {512U, 1024U}) {
    for (std::uint64_t const start : start_granules(capacity)) {
      for (std::size_t const bytes : {0U, 64U, 65U, 200U}) {
        for (int before = 0; before < 3; ++before) {
          for (int behind = 0; behind < 3; ++behind) {
            Ring ring(capacity, start);
            MpscProducer dead(ring.memory.span(), capacity, 7);
            MpscProducer::Claim left;
            for (int i = 0; i < before; ++i) ASSERT_EQ(ring.send(20), Status::ok);
            ASSERT_EQ(ring.consumer->waits_for(), 0);
            const bool claimed = dead.try_claim(bytes, &left) == Status::ok;
            ASSERT_TRUE(claimed || capacity == 512);  // With its padding it may not fit.
            int sent = 0;
            while (sent < behind && ring.send(90) == Status::ok) ++sent;
            for (int i = 0; i < before; ++i) ring.expect_oldest();
            if (claimed) {
              ring.expect_empty();
              ASSERT_EQ(ring.consumer->waits_for(), 7);
            }
            ASSERT_EQ(ring.consumer->abort_claims_of(7), Status::ok);
            for (int i = 0; i < sent; ++i) ring.expect_oldest();
            ring.expect_empty();
            ASSERT_EQ(ring.consumer->waits_for(), 0);
            ASSERT_EQ(ring.send(MpscRing::max_record(capacity)), Status::ok);
            ring.expect_oldest();
          }
        }
      }
    }
  }
}

TEST(MpscRing, LeavesTheClaimsOfTheLiving) {
  Ring ring(1024);
  MpscProducer dead(ring.memory.span(), 1024, 7);
  MpscProducer other(ring.memory.span(), 1024, 8);
  MpscProducer::Claim left;
  MpscProducer::Claim open;
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(dead.try_claim(70, &left), Status::ok);
    if (i == 0) {
      ASSERT_EQ(other.try_claim(3, &open), Status::ok);
    }
  }
  ASSERT_EQ(ring.consumer->abort_claims_of(9), Status::ok);
  EXPECT_EQ(ring.consumer->waits_for(), 7);
  ASSERT_EQ(ring.consumer->abort_claims_of(7), Status::ok);
  ring.expect_empty();
  EXPECT_EQ(ring.consumer->waits_for(), 8);
  std::memcpy(open.room, "abc", 3);
  other.commit(open);
  std::span<const std::uint8_t> record;
  ASSERT_EQ(ring.consumer->peek(&record), Status::ok);
  EXPECT_EQ(record.size(), 3U);
  ring.consumer->consume();
  ring.expect_empty();
  EXPECT_EQ(ring.consumer->waits_for(), 0);
}

TEST(MpscRing, EndsBehindWhatADeadProducerLeft) {
  Ring ring(512);
  MpscProducer dead(ring.memory.span(), 512, 7);
  MpscProducer::Claim left;
  ASSERT_EQ(dead.try_claim(100, &left), Status::ok);
  ring.producer->close();
  ring.expect_empty();
  ASSERT_EQ(ring.consumer->abort_claims_of(7), Status::ok);
  std::span<const std::uint8_t> record;
  EXPECT_EQ(ring.consumer->peek(&record), Status::closed);
}

/// All is the dead one's, as much as fits.
TEST(MpscRing, GivesBackAFullRingOfADeadProducer) {
  Ring ring(1024);
  MpscProducer dead(ring.memory.span(), 1024, 7);
  for (int round = 0; round < 5; ++round) {
    MpscProducer::Claim left;
    int claims = 0;
    while (dead.try_claim(100, &left) == Status::ok) ++claims;
    EXPECT_GE(claims, 7);
    ASSERT_EQ(ring.consumer->abort_claims_of(7), Status::ok);
    ring.expect_empty();
    ASSERT_EQ(ring.send(300), Status::ok);
    ring.expect_oldest();
  }
}

/// Whatever stands in the shared memory, both roles stay inside the ring and come to an end.
TEST(MpscRing, SurvivesScribbledHeadersAndEntries) {
  test::Random random(11);
  for (std::uint64_t round = 0; round < scaled(60'000); ++round) {
    std::uint64_t const lap = random.below(3);
    Ring ring(512, lap * 8 + random.below(8));
    for (int i = 0; i < 4; ++i) (void)ring.send(random.below(200));
    for (int i = 0; i < 5; ++i) {
      std::uint64_t const stamp = (lap + random.below(2)) << 27;
      std::uint64_t const values[] = {
          0, ~std::uint64_t{0}, random.next(), stamp | entry(random.below(4), random.below(10)),
          stamp | entry(random.below(4), random.below(1U << 17)),
          // Of tail: position, length, owner.
          (lap * 8 + random.below(16)) << 20 | random.below(4) << 9 | random.below(2) << 1,
          stamp | entry(kClaimed, random.below(10)) | std::uint64_t{1} << 17};
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
    (void)ring.consumer->waits_for();
    (void)ring.consumer->abort_claims_of(1);
    for (int i = 0; i < 16; ++i) (void)ring.producer->try_send(std::array<std::uint8_t, 200>{});
    EXPECT_NE(sum, ~0U);
  }
}

}  // namespace
}  // namespace penstock
