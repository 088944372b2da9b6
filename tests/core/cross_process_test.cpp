// SPDX-License-Identifier: Apache-2.0
// Rings in a sealed memfd that each process maps at an address of its own, with a Gate to sleep at.
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
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
      gate_.park(armed, until);
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
    const Status status = sleeper.until_not(Status::empty, [&] { return consumer.peek(&record); });
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
    const Status status = sleeper.until_not(Status::empty, [&] { return consumer.peek(&record); });
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

#ifdef PENSTOCK_FAIL_POINTS

// A producer that is killed
// --------------------------------------------------------------------------------------------

constexpr MpscRing::Owner kMortal = 7;
constexpr std::uint64_t kMortalMessages = 6;

std::atomic<std::uint64_t> steps_left{0};

void die_at_the_last_step(const char* /*name*/) noexcept {
  if (steps_left.fetch_sub(1) == 1) raise(SIGKILL);
}

TEST(CrossProcessRole, DISABLED_MortalProducer) {
  const Segment segment = attach_elsewhere();
  MpscProducer producer(ring_memory(segment, 0), kCapacity, kMortal);
  steps_left = role_setting("STEPS");
  fail_point_hook = die_at_the_last_step;
  for (std::uint64_t number = 0; number < kMortalMessages; ++number) {
    MpscProducer::Claim claim;
    std::size_t const bytes = record_size(number);
    ASSERT_EQ(producer.try_claim(bytes, &claim), Status::ok);
    test::write_record({claim.room, bytes}, {0, number});
    producer.commit(claim);
    producer.wake_consumer();
  }
  fail_point_hook = nullptr;
}

/// Kills it at each step of claim and commit in turn, until it gets through, beside a producer that
/// lives. What it has committed comes, what it has not is skipped, and nobody else loses anything.
TEST(CrossProcess, MpscRingSurvivesTheDeathOfAProducerAtEachStep) {
  std::uint64_t deaths = 0;
  for (std::uint64_t steps = 1;; ++steps) {
    ASSERT_LT(steps, 1000U);
    const Segment segment = create_segment();
    const std::span<std::uint8_t> memory = ring_memory(segment, 0);
    MpscRing::format(memory, kCapacity, (std::uint64_t{1} << 32) - steps);
    Role mortal("CrossProcessRole.DISABLED_MortalProducer", {"STEPS=" + std::to_string(steps)},
                segment.descriptor());
    MpscConsumer consumer(memory, kCapacity);
    MpscProducer producer(memory, kCapacity, 1);
    test::OrderCheck order(2);
    std::uint64_t sent = 0;
    const auto drain = [&] {
      std::span<const std::uint8_t> record;
      Status status{};
      while ((status = consumer.peek(&record)) == Status::ok) {
        ASSERT_TRUE(order.accept(record));
        consumer.consume();
      }
      ASSERT_EQ(status, Status::empty);
    };
    const auto send = [&] {
      std::uint8_t bytes[256];
      std::size_t const size = record_size(sent);
      test::write_record({bytes, size}, {1, sent});
      const Status status = producer.try_send({bytes, size});
      ASSERT_TRUE(status == Status::ok || status == Status::full);
      if (status == Status::ok) ++sent;
    };
    test::Patience patience;
    while (!mortal.has_ended()) {
      ASSERT_TRUE(patience.another_turn());
      send();
      drain();
    }
    const int signal = mortal.killed_by();
    const MpscRing::Owner blocked_by = consumer.waits_for();
    EXPECT_TRUE(blocked_by == 0 || blocked_by == kMortal);
    ASSERT_EQ(consumer.abort_claims_of(kMortal), Status::ok);
    drain();
    send();
    drain();
    EXPECT_EQ(order.seen(1), sent);
    EXPECT_EQ(consumer.waits_for(), 0);
    // Four steps a message, and a claim may be tried again.
    if (signal == 0) {
      EXPECT_EQ(order.seen(0), kMortalMessages);
      break;
    }
    ASSERT_EQ(signal, SIGKILL);
    ++deaths;
  }
  EXPECT_GE(deaths, 4 * kMortalMessages);
}

#endif

// Forced sleeps
// --------------------------------------------------------------------------------------------

constexpr std::uint64_t kStop = ~std::uint64_t{0};

/// One side of a conversation through two rings, in which everybody waits asleep.
class Talker {
 public:
  Talker(const Segment& segment, bool first)
      : producer_(ring_memory(segment, first ? 0 : 1), kCapacity),
        consumer_(ring_memory(segment, first ? 1 : 0), kCapacity),
        sleeper_(consumer_.data()) {}
  /// Who comes after us finds the ring as we leave it.
  ~Talker() {
    consumer_.release();
    EXPECT_EQ(sleeper_.rescued(), 0U);
  }
  Talker(const Talker&) = delete;
  Talker& operator=(const Talker&) = delete;

  void say(std::uint64_t number) {
    ASSERT_EQ(producer_.try_send({reinterpret_cast<std::uint8_t*>(&number), 8}), Status::ok);
    producer_.wake_consumer();
  }
  void hear(std::uint64_t* number) {
    std::size_t bytes = 0;
    ASSERT_EQ(
        sleeper_.until_not(
            Status::empty,
            [&] {
              return consumer_.try_receive({reinterpret_cast<std::uint8_t*>(number), 8}, &bytes);
            }),
        Status::ok);
  }
  [[nodiscard]] std::uint64_t sleeps() const { return sleeper_.sleeps(); }

 private:
  SpscProducer producer_;
  SpscConsumer consumer_;
  Sleeper sleeper_;
};

/// Asks until it has slept that often.
void ask(const Segment& segment, std::uint64_t sleeps) {
  Talker talker(segment, true);
  std::uint64_t turn = 0;
  for (; talker.sleeps() < sleeps && turn < 20 * sleeps; ++turn) {
    talker.say(turn);
    std::uint64_t number = kStop;
    talker.hear(&number);
    ASSERT_EQ(number, turn);
  }
  EXPECT_GE(talker.sleeps(), sleeps);
  talker.say(kStop);
  std::uint64_t number = 0;
  talker.hear(&number);
  ASSERT_EQ(number, kStop);
}

void answer(const Segment& segment) {
  Talker talker(segment, false);
  for (std::uint64_t number = 0; number != kStop && !testing::Test::HasFatalFailure();) {
    talker.hear(&number);
    talker.say(number);
  }
}

TEST(CrossProcessRole, DISABLED_Answerer) {
  const Segment segment = attach_elsewhere();
  {
    const test::Pinned pinned(0);
    answer(segment);
  }
  const test::Pinned pinned(1);
  answer(segment);
}

/// On one processor, where the kernel switches at each futex call; then on two, where both sides
/// are in the protocol at once.
TEST(CrossProcess, GateLosesNoWakeUpInAMillionSleeps) {
  const Segment segment = create_segment();
  for (std::size_t ring = 0; ring < 2; ++ring) {
    SpscRing::format(ring_memory(segment, ring), kCapacity);
  }
  Role child("CrossProcessRole.DISABLED_Answerer", {}, segment.descriptor());
  const test::Pinned pinned(0);
  ask(segment, scaled(500'000));  // And so often sleeps the other side, too.
  ask(segment, scaled(40'000));
  EXPECT_TRUE(child.succeeded());
}

}  // namespace
}  // namespace penstock
