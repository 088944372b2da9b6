// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <memory>
#include <new>

#include "cases.hpp"
#include "payload.hpp"
#include "penstock/mpsc_ring.hpp"
#include "penstock/spsc_ring.hpp"

namespace penstock::model {

namespace {

constexpr std::uint64_t kNearTwoTo32 = (std::uint64_t{1} << 32) - 64;

/// Zeroed memory for a ring, from the watched heap.
class RingMemory {
 public:
  explicit RingMemory(std::size_t bytes)
      : memory_(static_cast<std::uint8_t*>(::operator new (bytes, std::align_val_t{kSharedLine}))),
        bytes_(bytes) {
    zero(memory_, bytes);
  }
  ~RingMemory() { ::operator delete (memory_, std::align_val_t{kSharedLine}); }
  RingMemory(const RingMemory&) = delete;
  RingMemory& operator=(const RingMemory&) = delete;
  [[nodiscard]] std::span<std::uint8_t> span() const { return {memory_, bytes_}; }

 private:
  std::uint8_t* memory_;
  std::size_t bytes_;
};

/// A record of `Bytes` that carries one number at both ends.
template <std::size_t Bytes>
struct Record {
  static_assert(Bytes >= 16);
  std::uint8_t bytes[Bytes] = {};
  explicit Record(std::uint64_t number = 0) {
    std::memcpy(bytes, &number, sizeof number);
    std::memcpy(bytes + Bytes - sizeof number, &number, sizeof number);
  }
  [[nodiscard]] std::uint64_t number() const {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::memcpy(&first, bytes, sizeof first);
    std::memcpy(&last, bytes + Bytes - sizeof last, sizeof last);
    require(first == last, "a record is torn");
    return first;
  }
};

// SpscRing: 64 bytes hold two records of 16, and the third needs padding.
// ----------------------------------------------------------------------------------------

constexpr std::uint64_t kSpscCapacity = 64;
using SpscRecord = Record<16>;

/// Waits for room without spinning.
void send_waiting(SpscProducer& producer, std::uint64_t number) {
  const SpscRecord record(number);
  for (;;) {
    Status status = producer.try_send(record.bytes);
    if (status == Status::full) {
      std::uint32_t const armed = producer.space().arm();
      status = producer.try_send(record.bytes);
      if (status == Status::full) producer.space().park(armed, kNoDeadline);
    }
    if (status == Status::full) continue;
    require(status == Status::ok, "neither sent nor full");
    producer.wake_consumer();
    return;
  }
}

/// Waits for a record; 0 is the end.
std::uint64_t receive_waiting(SpscConsumer& consumer) {
  SpscRecord record;
  std::size_t bytes = 0;
  for (;;) {
    Status status = consumer.try_receive(record.bytes, &bytes);
    if (status == Status::empty) {
      std::uint32_t const armed = consumer.data().arm();
      status = consumer.try_receive(record.bytes, &bytes);
      if (status == Status::empty) consumer.data().park(armed, kNoDeadline);
    }
    if (status == Status::empty) continue;
    if (status == Status::closed) return 0;
    require(status == Status::ok && bytes == sizeof record.bytes, "corrupt");
    consumer.release();
    return record.number();
  }
}

template <std::uint64_t Start, unsigned Count>
void spsc_wraps() {
  const RingMemory memory(SpscRing::bytes_for(kSpscCapacity));
  SpscRing::format(memory.span(), kSpscCapacity, Start);
  parallel(
      [&] {
        SpscProducer producer(memory.span(), kSpscCapacity);
        for (std::uint64_t i = 1; i <= Count; ++i) send_waiting(producer, i);
        producer.close();
      },
      [&] {
        SpscConsumer consumer(memory.span(), kSpscCapacity);
        InOrder seen;
        while (std::uint64_t const number = receive_waiting(consumer)) seen.accept(number);
        require(seen.total() == Count, "the end came before the last record");
      });
}

/// Full and empty are exact: never refused what fits, and the consumer spins on what is there.
void spsc_polled() {
  const RingMemory memory(SpscRing::bytes_for(kSpscCapacity));
  SpscRing::format(memory.span(), kSpscCapacity);
  parallel(
      [&] {
        SpscProducer producer(memory.span(), kSpscCapacity);
        for (std::uint64_t i = 1; i <= 4; ++i) {
          const SpscRecord record(i);
          for (unsigned turn = 0; producer.try_send(record.bytes) == Status::full; ++turn) {
            spin_pause(turn);
          }
        }
      },
      [&] {
        SpscConsumer consumer(memory.span(), kSpscCapacity);
        InOrder seen;
        for (unsigned turn = 0; seen.total() < 4; ++turn) {
          SpscRecord record;
          std::size_t bytes = 0;
          const Status status = consumer.try_receive(record.bytes, &bytes);
          if (status == Status::ok) {
            seen.accept(record.number());
          } else {
            require(status == Status::empty, "corrupt");
            spin_pause(turn);
          }
        }
      });
}

/// The producer's role is taken over while the consumer consumes what the first one left.
void spsc_producer_changes() {
  const RingMemory memory(SpscRing::bytes_for(kSpscCapacity));
  SpscRing::format(memory.span(), kSpscCapacity);
  SpscProducer first(memory.span(), kSpscCapacity);
  require(first.try_send(SpscRecord(1).bytes) == Status::ok, "full, although it fits");
  require(first.try_send(SpscRecord(2).bytes) == Status::ok, "full, although it fits");
  parallel(
      [&] {
        SpscProducer second(memory.span(), kSpscCapacity);
        const Status status = second.try_send(SpscRecord(3).bytes);
        require(status == Status::ok || status == Status::full, "neither sent nor full");
        second.close();
      },
      [&] {
        SpscConsumer consumer(memory.span(), kSpscCapacity);
        InOrder seen;
        while (std::uint64_t const number = receive_waiting(consumer)) seen.accept(number);
        require(seen.total() >= 2, "the end came before the last record");
      });
}

/// What was committed but not published before close() comes before the end.
void spsc_close_publishes() {
  const RingMemory memory(SpscRing::bytes_for(kSpscCapacity));
  SpscRing::format(memory.span(), kSpscCapacity);
  parallel(
      [&] {
        SpscProducer producer(memory.span(), kSpscCapacity);
        const SpscRecord record(1);
        std::uint8_t* room = nullptr;
        require(producer.try_claim(sizeof record.bytes, &room) == Status::ok, "no room");
        copy_in(room, record.bytes, sizeof record.bytes);
        producer.commit();
        producer.close();
      },
      [&] {
        SpscConsumer consumer(memory.span(), kSpscCapacity);
        require(receive_waiting(consumer) == 1, "the end came before the last record");
        require(receive_waiting(consumer) == 0, "a record from nowhere");
      });
}

// MpscRing: 256 bytes are four granules.
// ------------------------------------------------------------------------------------------

constexpr std::uint64_t kMpscCapacity = 256;
using MpscRecord = Record<16>;
using LargeRecord = Record<100>;  // Two granules, so that the ring's end needs padding.

template <class Sent>
void send_waiting(MpscProducer& producer, const Sent& record) {
  for (;;) {
    Status status = producer.try_send(record.bytes);
    if (status == Status::full) {
      std::uint32_t const armed = producer.space().arm();
      status = producer.try_send(record.bytes);
      if (status == Status::full) producer.space().park(armed, kNoDeadline);
    }
    if (status == Status::full) continue;
    require(status == Status::ok, "neither sent nor full");
    producer.wake_consumer();
    return;
  }
}

std::uint64_t receive_waiting(MpscConsumer& consumer) {
  LargeRecord room;
  std::size_t bytes = 0;
  for (;;) {
    Status status = consumer.try_receive(room.bytes, &bytes);
    if (status == Status::empty) {
      std::uint32_t const armed = consumer.data().arm();
      status = consumer.try_receive(room.bytes, &bytes);
      if (status == Status::empty) consumer.data().park(armed, kNoDeadline);
    }
    if (status == Status::empty) continue;
    if (status == Status::closed) return 0;
    require(status == Status::ok, "corrupt");
    consumer.release();
    if (bytes == sizeof room.bytes) return room.number();
    require(bytes == sizeof(MpscRecord), "a record arrived with another length");
    MpscRecord record;
    std::memcpy(record.bytes, room.bytes, bytes);
    return record.number();
  }
}

template <std::uint64_t Start, unsigned Each>
void mpsc_small() {
  const RingMemory memory(MpscRing::bytes_for(kMpscCapacity));
  MpscRing::format(memory.span(), kMpscCapacity, Start);
  const auto produce = [&](std::uint64_t which) {
    MpscProducer producer(memory.span(), kMpscCapacity);
    for (std::uint64_t i = 1; i <= Each; ++i) send_waiting(producer, MpscRecord(10 * which + i));
  };
  parallel([&] { produce(0); }, [&] { produce(1); },
           [&] {
             MpscConsumer consumer(memory.span(), kMpscCapacity);
             InOrder seen;
             while (seen.total() < 2 * Each) seen.accept(receive_waiting(consumer));
           });
}

/// Starts one granule before the end, where the large records must pad.
template <unsigned Large>
void mpsc_pads() {
  const RingMemory memory(MpscRing::bytes_for(kMpscCapacity));
  MpscRing::format(memory.span(), kMpscCapacity, 3);
  parallel(
      [&] {
        MpscProducer producer(memory.span(), kMpscCapacity);
        for (std::uint64_t i = 1; i <= Large; ++i) send_waiting(producer, LargeRecord(i));
      },
      [&] {
        MpscProducer producer(memory.span(), kMpscCapacity);
        send_waiting(producer, MpscRecord(11));
      },
      [&] {
        MpscConsumer consumer(memory.span(), kMpscCapacity);
        InOrder seen;
        while (seen.total() < Large + 1) seen.accept(receive_waiting(consumer));
      });
}

/// Two producers share a view of head: what one saw of the consumer, the other may rely on.
void mpsc_reuses_room() {
  const RingMemory memory(MpscRing::bytes_for(kMpscCapacity));
  MpscRing::format(memory.span(), kMpscCapacity);
  MpscProducer first(memory.span(), kMpscCapacity);
  for (std::uint64_t i = 1; i <= 3; ++i) {
    require(first.try_send(MpscRecord(i).bytes) == Status::ok, "full, although it fits");
  }
  const auto produce = [&](std::uint64_t which) {
    MpscProducer producer(memory.span(), kMpscCapacity);
    for (std::uint64_t i = 1; i <= 2; ++i) send_waiting(producer, MpscRecord(10 * which + i));
  };
  parallel([&] { produce(1); }, [&] { produce(2); },
           [&] {
             MpscConsumer consumer(memory.span(), kMpscCapacity);
             InOrder seen;
             while (seen.total() < 7) seen.accept(receive_waiting(consumer));
           });
}

void mpsc_close() {
  const RingMemory memory(MpscRing::bytes_for(kMpscCapacity));
  MpscRing::format(memory.span(), kMpscCapacity);
  std::uint64_t sent = 0;
  InOrder seen;
  parallel(
      [&] {
        MpscProducer producer(memory.span(), kMpscCapacity);
        for (std::uint64_t i = 1; i <= 2; ++i) {
          const Status status = producer.try_send(MpscRecord(i).bytes);
          if (status == Status::closed) break;
          require(status == Status::ok, "neither sent nor closed");
          producer.wake_consumer();
          sent = i;
        }
      },
      [&] { MpscProducer(memory.span(), kMpscCapacity).close(); },
      [&] {
        MpscConsumer consumer(memory.span(), kMpscCapacity);
        while (std::uint64_t const number = receive_waiting(consumer)) seen.accept(number);
      });
  require(seen.total() == sent, "a send that returned ok was not received before the end");
}

/// Each of two producers has at most two records in, and four fit: never full.
void mpsc_never_refuses_what_fits() {
  const RingMemory memory(MpscRing::bytes_for(kMpscCapacity));
  MpscRing::format(memory.span(), kMpscCapacity);
  Atomic<std::uint32_t> consumed[2] = {{0U}, {0U}};
  const auto produce = [&](std::uint64_t which) {
    MpscProducer producer(memory.span(), kMpscCapacity);
    for (std::uint32_t i = 1; i <= 4; ++i) {
      // Two at most are not consumed yet, as far as this producer knows.
      for (unsigned turn = 0; i > 2 && consumed[which].load(order::acquire("test")) < i - 2;
           ++turn) {
        spin_pause(turn);
      }
      require(producer.try_send(MpscRecord(10 * which + i).bytes) == Status::ok,
              "full, although it fits");
    }
  };
  parallel([&] { produce(0); }, [&] { produce(1); },
           [&] {
             MpscConsumer consumer(memory.span(), kMpscCapacity);
             InOrder seen;
             for (unsigned turn = 0; seen.total() < 8; ++turn) {
               MpscRecord record;
               std::size_t bytes = 0;
               if (consumer.try_receive(record.bytes, &bytes) != Status::ok) {
                 spin_pause(turn);
                 continue;
               }
               consumer.release();
               seen.accept(record.number());
               std::uint64_t const which = record.number() / 10;
               consumed[which].store(static_cast<std::uint32_t>(seen.from(which)),
                                     order::release("test"));
             }
           });
}

/// One producer dies within a claim, in the midst of others, and its owner's death is proved while
/// they go on.
template <std::uint64_t Start>
void mpsc_dead_producer() {
  const RingMemory memory(MpscRing::bytes_for(kMpscCapacity));
  MpscRing::format(memory.span(), kMpscCapacity, Start);
  Atomic<std::uint32_t> is_dead{0};
  parallel(
      [&] {
        MpscProducer producer(memory.span(), kMpscCapacity, 7);
        MpscProducer::Claim left;
        require(producer.try_claim(sizeof(LargeRecord), &left) == Status::ok, "full, yet it fits");
        left.room[0] = 1;
        is_dead.store(1, order::release("test"));
      },
      [&] {
        MpscProducer producer(memory.span(), kMpscCapacity, 8);
        for (std::uint64_t i = 1; i <= 2; ++i) send_waiting(producer, MpscRecord(i));
      },
      [&] {
        MpscConsumer consumer(memory.span(), kMpscCapacity);
        InOrder seen;
        bool is_aborted = false;
        for (unsigned turn = 0; seen.total() < 2 || !is_aborted; ++turn) {
          if (!is_aborted && is_dead.load(order::acquire("test")) != 0) {
            require(consumer.abort_claims_of(7) == Status::ok, "corrupt");
            is_aborted = true;
          }
          MpscRecord record;
          std::size_t bytes = 0;
          const Status status = consumer.try_receive(record.bytes, &bytes);
          if (status == Status::ok) {
            consumer.release();
            seen.accept(record.number());
          } else {
            require(status == Status::empty, "corrupt");
            if (seen.total() < 2 || !is_aborted) spin_pause(turn);
          }
        }
        require(consumer.waits_for() == 0, "something is left");
      });
}

/// The first claim that is not committed blocks the consumer, whoever claims behind it.
void mpsc_waits_for() {
  const RingMemory memory(MpscRing::bytes_for(kMpscCapacity));
  MpscRing::format(memory.span(), kMpscCapacity);
  MpscProducer first(memory.span(), kMpscCapacity, 7);
  MpscProducer::Claim claim;
  require(first.try_claim(1, &claim) == Status::ok, "full, yet it fits");
  parallel(
      [&] {
        MpscProducer second(memory.span(), kMpscCapacity, 8);
        MpscProducer::Claim behind;
        require(second.try_claim(1, &behind) == Status::ok, "full, yet it fits");
      },
      [&] {
        const MpscConsumer consumer(memory.span(), kMpscCapacity);
        require(consumer.waits_for() == 7, "it waits for another");
      });
}

constexpr Plan kLarge{
    .limits = {2, 1}, .most_executions = 60'000, .random_executions = 20'000, .seed = 1};

constexpr Case kCases[] = {
    {"SpscRingWrapsWithPadding", spsc_wraps<0, 4>, {.limits = {3, 2}}},
    {"SpscRingWrapsItsPositionsAtTwoTo64", spsc_wraps<std::uint64_t(0) - 64, 3>, {}},
    {"SpscRingIsPolled", spsc_polled, {}},
    {"SpscRingOutlivesItsProducer", spsc_producer_changes, {}},
    {"SpscRingPublishesBeforeItsEnd", spsc_close_publishes, {}},
    {"MpscRingKeepsOrderAndLosesNothing", mpsc_small<0, 1>, {.limits = {2, 2}}},
    {"MpscRingWraps", mpsc_small<kNearTwoTo32 - 1, 3>, kLarge},
    {"MpscRingPadsAtItsEnd", mpsc_pads<2>, kLarge},
    {"MpscProducersShareWhatTheySawOfTheConsumer", mpsc_reuses_room, kLarge},
    {"MpscRingDeliversEachAcceptedSendBeforeItsEnd", mpsc_close, {.limits = {2, 2}}},
    {"MpscRingRefusesNothingThatFits", mpsc_never_refuses_what_fits, kLarge},
    {"MpscRingTellsWhomItWaitsFor", mpsc_waits_for, {}},
    {"MpscRingSkipsWhatADeadProducerLeft", mpsc_dead_producer<0>, kLarge},
    {"MpscRingSkipsThePaddingOfADeadProducer", mpsc_dead_producer<3>, kLarge},
};

}  // namespace

std::span<const Case> ring_cases() { return kCases; }

}  // namespace penstock::model
