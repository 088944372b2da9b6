// SPDX-License-Identifier: Apache-2.0
// Rings in a sealed memfd that each process maps at an address of its own, with a Gate to sleep at.
#include <gtest/gtest.h>

#include <optional>

#include "penstock/mpsc_ring.hpp"
#include "penstock/segment.hpp"
#include "penstock/spsc_ring.hpp"
#include "role.hpp"
#include "support.hpp"

namespace penstock {
namespace {

using test::Role;
using test::role_setting;
using test::scaled;

constexpr std::uint64_t kCapacity = 1 << 14;
constexpr std::size_t kPage = 4096;
/// Page 0: where the parent mapped the segment. Then two rings, of either kind.
constexpr std::size_t kRingBytes = 8 * kPage;
static_assert(MpscRing::bytes_for(kCapacity) <= kRingBytes);
constexpr std::size_t kBytes = kPage + 2 * kRingBytes;

/// A sleep this long was a lost wake-up if there was something to be seen at its end.
constexpr std::int64_t kGuard_ns = 1'000'000'000;

std::span<std::uint8_t> ring_memory(const Segment& segment, std::size_t index) {
  return segment.memory().subspan(kPage + index * kRingBytes, kRingBytes);
}

Atomic<std::uint64_t>& parents_address(const Segment& segment) {
  return *reinterpret_cast<Atomic<std::uint64_t>*>(segment.memory().data());
}

Segment create_segment() {
  Segment segment = Segment::create_shared(kBytes);
  parents_address(segment).store(reinterpret_cast<std::uint64_t>(segment.memory().data()));
  return segment;
}

/// Maps what the parent passed, elsewhere than the parent: two mappings at once cannot share an
/// address, so one of them is not the parent's.
Segment attach_elsewhere() {
  Segment first = Segment::attach(dup(test::kRoleDescriptor), kBytes);
  Segment second = Segment::attach(test::kRoleDescriptor, kBytes);
  std::uint64_t const parents = parents_address(first).load();
  const bool same = reinterpret_cast<std::uint64_t>(first.memory().data()) == parents;
  Segment segment = std::move(same ? second : first);
  EXPECT_NE(reinterpret_cast<std::uint64_t>(segment.memory().data()), parents);
  return segment;
}

/// Repeats `attempt` while it answers `in_vain`, asleep between. Counts sleeps, and those that only
/// the guard ended.
class Sleeper {
 public:
  explicit Sleeper(Gate& gate) : gate_(gate) {}
  template <class Attempt>
  Status until_not(Status in_vain, Attempt attempt) {
    bool overslept = false;
    for (;;) {
      if (const Status status = attempt(); status != in_vain) {
        if (overslept) ++rescued_;
        return status;
      }
      std::uint32_t const armed = gate_.arm();
      if (const Status status = attempt(); status != in_vain) return status;
      std::int64_t const until = now_ns() + kGuard_ns;
      gate_.sleep(armed, until);
      ++sleeps_;
      overslept = now_ns() >= until;
    }
  }
  [[nodiscard]] std::uint64_t sleeps() const { return sleeps_; }
  [[nodiscard]] std::uint64_t rescued() const { return rescued_; }

 private:
  Gate& gate_;
  std::uint64_t sleeps_ = 0;
  std::uint64_t rescued_ = 0;
};

std::size_t record_size(std::uint64_t number) { return test::kStampBytes + number * 7 % 200; }

// One producer
// ---------------------------------------------------------------------------------------------

void produce_spsc(std::span<std::uint8_t> memory, std::uint64_t messages) {
  SpscProducer producer(memory, kCapacity);
  Sleeper sleeper(producer.space());
  for (std::uint64_t number = 0; number < messages; ++number) {
    std::uint8_t* room = nullptr;
    std::size_t const bytes = record_size(number);
    ASSERT_EQ(sleeper.until_not(Status::full, [&] { return producer.try_claim(bytes, &room); }),
              Status::ok);
    test::write_record({room, bytes}, {0, number});
    producer.commit();
    producer.publish();
    producer.wake_consumer();
  }
  producer.close();
  EXPECT_EQ(sleeper.rescued(), 0U);
}

TEST(CrossProcessRole, DISABLED_SpscProducer) {
  const Segment segment = attach_elsewhere();
  ASSERT_TRUE(SpscRing::attach(ring_memory(segment, 0), kCapacity));
  produce_spsc(ring_memory(segment, 0), role_setting("MESSAGES"));
}

TEST(CrossProcess, SpscRingCarriesAMillionMessagesBetweenTwoAddresses) {
  std::uint64_t const messages = scaled(1'000'000);
  const Segment segment = create_segment();
  SpscRing::format(ring_memory(segment, 0), kCapacity, (std::uint64_t{1} << 32) - 4096);
  Role child("CrossProcessRole.DISABLED_SpscProducer", {"MESSAGES=" + std::to_string(messages)},
             segment.descriptor());
  SpscConsumer consumer(ring_memory(segment, 0), kCapacity);
  Sleeper sleeper(consumer.data());
  test::OrderCheck order(1);
  for (;;) {
    std::span<const std::uint8_t> record;
    // Before it sleeps peek() has given back all room: the producer may be asleep, too.
    const Status status =
        sleeper.until_not(Status::empty, [&] { return consumer.peek(&record); });
    if (status == Status::closed) break;
    ASSERT_EQ(status, Status::ok);
    ASSERT_TRUE(order.accept(record));
    consumer.consume();
  }
  EXPECT_EQ(order.seen(0), messages);
  EXPECT_EQ(sleeper.rescued(), 0U);
  EXPECT_TRUE(child.succeeded());
}

// Two producers
// --------------------------------------------------------------------------------------------

TEST(CrossProcessRole, DISABLED_MpscProducer) {
  const Segment segment = attach_elsewhere();
  ASSERT_TRUE(MpscRing::attach(ring_memory(segment, 0), kCapacity));
  MpscProducer producer(ring_memory(segment, 0), kCapacity);
  Sleeper sleeper(producer.space());
  const auto id = static_cast<std::uint32_t>(role_setting("PRODUCER"));
  std::uint64_t const messages = role_setting("MESSAGES");
  for (std::uint64_t number = 0; number < messages; ++number) {
    MpscProducer::Claim claim;
    std::size_t const bytes = record_size(number);
    ASSERT_EQ(sleeper.until_not(Status::full, [&] { return producer.try_claim(bytes, &claim); }),
              Status::ok);
    test::write_record({claim.room, bytes}, {id, number});
    producer.commit(claim);
    producer.wake_consumer();
  }
  EXPECT_EQ(sleeper.rescued(), 0U);
}

TEST(CrossProcess, MpscRingCarriesMessagesOfTwoProcesses) {
  std::uint64_t const messages = scaled(500'000);
  const Segment segment = create_segment();
  MpscRing::format(ring_memory(segment, 0), kCapacity, (std::uint64_t{1} << 32) - 1000);
  const std::string count = "MESSAGES=" + std::to_string(messages);
  const std::string role = "CrossProcessRole.DISABLED_MpscProducer";
  Role first(role, {count, "PRODUCER=0"}, segment.descriptor());
  Role second(role, {count, "PRODUCER=1"}, segment.descriptor());
  MpscConsumer consumer(ring_memory(segment, 0), kCapacity);
  Sleeper sleeper(consumer.data());
  test::OrderCheck order(2);
  for (std::uint64_t received = 0; received < 2 * messages; ++received) {
    std::span<const std::uint8_t> record;
    const Status status =
        sleeper.until_not(Status::empty, [&] { return consumer.peek(&record); });
    ASSERT_EQ(status, Status::ok);
    ASSERT_TRUE(order.accept(record));
    consumer.consume();
  }
  EXPECT_EQ(order.seen(0), messages);
  EXPECT_EQ(order.seen(1), messages);
  EXPECT_EQ(sleeper.rescued(), 0U);
  EXPECT_TRUE(first.succeeded());
  EXPECT_TRUE(second.succeeded());
}

// Forced sleeps
// --------------------------------------------------------------------------------------------

/// Sends one record, and waits for the answer asleep. `first`: who begins, and who ends it, once it
/// has slept `sleeps` times (on a busy machine the answer is often there before).
void ping_pong(const Segment& segment, std::uint64_t sleeps, bool first) {
  constexpr std::uint64_t kEnd = ~std::uint64_t{0};
  SpscProducer producer(ring_memory(segment, first ? 0 : 1), kCapacity);
  SpscConsumer consumer(ring_memory(segment, first ? 1 : 0), kCapacity);
  Sleeper sleeper(consumer.data());
  const auto send = [&](std::uint64_t number) {
    ASSERT_EQ(producer.try_send({reinterpret_cast<std::uint8_t*>(&number), 8}), Status::ok);
    producer.wake_consumer();
  };
  for (std::uint64_t turn = 0;; ++turn) {
    if (first && sleeper.sleeps() >= sleeps) {
      send(kEnd);
      break;
    }
    if (first) send(turn);
    std::uint64_t number = 0;
    std::size_t bytes = 0;
    ASSERT_EQ(sleeper.until_not(Status::empty,
                                [&] {
                                  return consumer.try_receive(
                                      {reinterpret_cast<std::uint8_t*>(&number), 8}, &bytes);
                                }),
              Status::ok);
    if (number == kEnd) break;
    ASSERT_EQ(number, turn);
    if (!first) send(turn);
  }
  consumer.release();  // The roles move to other objects.
  EXPECT_EQ(sleeper.rescued(), 0U);
}

/// With both on one processor, where the kernel switches at each futex call; then on two, where both
/// sides are in the protocol at once.
void ping_pong_in_both_ways(const Segment& segment, std::uint64_t sleeps, bool first) {
  {
    const test::Pinned pinned(0);
    ping_pong(segment, sleeps, first);
  }
  const test::Pinned pinned(first ? 0 : 1);
  ping_pong(segment, sleeps / 16, first);
}

TEST(CrossProcessRole, DISABLED_PingPong) {
  const Segment segment = attach_elsewhere();
  ping_pong_in_both_ways(segment, 0, false);
}

TEST(CrossProcess, GateLosesNoWakeUpInAMillionSleeps) {
  std::uint64_t const sleeps = scaled(500'000);  // Of each side.
  const Segment segment = create_segment();
  for (std::size_t ring = 0; ring < 2; ++ring) {
    SpscRing::format(ring_memory(segment, ring), kCapacity);
  }
  Role child("CrossProcessRole.DISABLED_PingPong", {}, segment.descriptor());
  ping_pong_in_both_ways(segment, sleeps, true);
  EXPECT_TRUE(child.succeeded());
}

}  // namespace
}  // namespace penstock
