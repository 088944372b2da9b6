// SPDX-License-Identifier: Apache-2.0
// How many messages a second go through core's rings, queue and channel, copied in and out; what a
// send costs; how long a hand-over takes, awake and asleep.
//
// Noise: between quiet runs minutes apart the same code differs by up to 1.7 on a virtual machine,
// as the host moves its processors; ratios within one run hold to about 15 %. Compare with
// baseline_core_bench from the same hour.
#include <array>
#include <cstring>

#include "penstock/channel.hpp"
#include "penstock/mpsc_ring.hpp"
#include "penstock/queue.hpp"
#include "penstock/segment.hpp"
#include "penstock/spsc_ring.hpp"
#include "stream.hpp"

namespace penstock {
namespace {

using bench::Backoff;

constexpr std::uint64_t kRingBytes = 1 << 20;
constexpr std::size_t kLongest = 16'384;

struct Buffer {
  std::array<std::uint8_t, kLongest> bytes{};
};

// Rings
// ---------------------------------------------------------------------------------------------

enum class Publish { each, batch, wake_check };

void produce(SpscProducer& producer, std::uint64_t messages, std::size_t bytes, Publish publish,
             std::uint64_t batch) {
  static const Buffer buffer;
  Backoff backoff;
  std::uint64_t unpublished = 0;
  for (std::uint64_t i = 0; i < messages; ++i) {
    std::uint8_t* room = nullptr;
    while (producer.try_claim(bytes, &room) != Status::ok) {
      producer.publish();
      backoff.pause();
    }
    backoff.reset();
    copy_in(room, buffer.bytes.data(), bytes);
    producer.commit();
    if (publish == Publish::batch && ++unpublished < batch) continue;
    producer.publish();
    if (publish != Publish::each) producer.wake_consumer();
    unpublished = 0;
  }
  producer.publish();
}

template <class Consumer>
void consume(Consumer& consumer, std::uint64_t messages) {
  static thread_local Buffer out;
  Backoff backoff;
  for (std::uint64_t i = 0; i < messages;) {
    std::size_t bytes = 0;
    if (consumer.try_receive(out.bytes, &bytes) == Status::ok) {
      ++i;
      backoff.reset();
      benchmark::DoNotOptimize(out.bytes.data());
    } else {
      backoff.pause();
    }
  }
}

void SpscRing_Stream(benchmark::State& state, Publish publish, std::uint64_t batch) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  std::uint64_t const messages = bench::messages_for(bytes) * (bytes <= 64 ? 4 : 1);
  const Segment segment = Segment::create_shared(SpscRing::bytes_for(kRingBytes));
  for (auto _ : state) {
    std::fill(segment.memory().begin(), segment.memory().end(), std::uint8_t{0});
    SpscRing::format(segment.memory(), kRingBytes);
    SpscProducer producer(segment.memory(), kRingBytes);
    SpscConsumer consumer(segment.memory(), kRingBytes);
    state.SetIterationTime(bench::stream(
        1, messages,
        [&](unsigned, std::uint64_t each) { produce(producer, each, bytes, publish, batch); },
        [&](std::uint64_t all) { consume(consumer, all); }));
  }
  bench::report(state, messages, bytes);
}

void MpscRing_Stream(benchmark::State& state) {
  const auto producers = static_cast<unsigned>(state.range(0));
  const auto bytes = static_cast<std::size_t>(state.range(1));
  const bool wake_check = state.range(2) != 0;
  std::uint64_t const messages = bench::messages_for(bytes) * (bytes <= 64 ? 4 : 1);
  const Segment segment = Segment::create_shared(MpscRing::bytes_for(kRingBytes));
  static const Buffer buffer;
  const auto record = std::span(buffer.bytes).first(std::min(bytes, buffer.bytes.size()));
  for (auto _ : state) {
    std::fill(segment.memory().begin(), segment.memory().end(), std::uint8_t{0});
    MpscRing::format(segment.memory(), kRingBytes);
    MpscConsumer consumer(segment.memory(), kRingBytes);
    state.SetIterationTime(bench::stream(
        producers, messages,
        [&](unsigned, std::uint64_t each) {
          MpscProducer producer(segment.memory(), kRingBytes);
          Backoff backoff;
          for (std::uint64_t i = 0; i < each; ++i) {
            while (producer.try_send(record) != Status::ok) backoff.pause();
            backoff.reset();
            if (wake_check) producer.wake_consumer();
          }
        },
        [&](std::uint64_t all) { consume(consumer, all); }));
  }
  bench::report(state, messages, bytes);
}

// Queue and Channel
// --------------------------------------------------------------------------------------------

void fill(Message& message, std::size_t bytes) {
  static const Buffer buffer;
  std::memcpy(message.extend(bytes), buffer.bytes.data(), bytes);
}

void Queue_Stream(benchmark::State& state) {
  const auto producers = static_cast<unsigned>(state.range(0));
  const auto bytes = static_cast<std::size_t>(state.range(1));
  std::uint64_t const messages = bench::messages_for(bytes);
  for (auto _ : state) {
    Queue queue;
    if (queue.init() != Status::ok) std::abort();
    state.SetIterationTime(bench::stream(
        producers, messages,
        [&](unsigned, std::uint64_t each) {
          for (std::uint64_t i = 0; i < each; ++i) {
            Message message;
            fill(message, bytes);
            if (queue.push(message) != Status::ok) std::abort();
          }
        },
        [&](std::uint64_t all) {
          Backoff backoff;
          for (std::uint64_t i = 0; i < all;) {
            Message message;
            if (queue.pop(message) == Status::ok) {
              ++i;
              backoff.reset();
            } else {
              backoff.pause();
            }
          }
        }));
  }
  bench::report(state, messages, bytes);
}

/// The consumer blocks in receive(), as Python's does, spinning and sleeping as it sees fit.
void Channel_Stream(benchmark::State& state, std::uint64_t max_size) {
  const auto producers = static_cast<unsigned>(state.range(0));
  const auto bytes = static_cast<std::size_t>(state.range(1));
  std::uint64_t const messages = bench::messages_for(bytes);
  for (auto _ : state) {
    const Ref<Channel> channel = Channel::create(max_size);
    channel->add_sender();
    state.SetIterationTime(bench::stream(
        producers, messages,
        [&](unsigned, std::uint64_t each) {
          Backoff backoff;
          for (std::uint64_t i = 0; i < each; ++i) {
            Message message;
            fill(message, bytes);
            while (channel->try_send(message) != Status::ok) backoff.pause();
            backoff.reset();
          }
        },
        [&](std::uint64_t all) {
          ThreadWaiter me;
          ThreadWaiter::Wake wake{};
          for (std::uint64_t i = 0; i < all; ++i) {
            Message message;
            if (channel->receive(message, kNoDeadline, me, &wake) != Status::ok) std::abort();
          }
        }));
  }
  bench::report(state, messages, bytes);
}

/// One thread sends, and later receives, with nobody else there: the time of the sends alone.
void Channel_SendAlone(benchmark::State& state, std::uint64_t max_size) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  constexpr std::uint64_t kBatch = 500;
  constexpr std::uint64_t kBatches = 1000;
  bench::pin(bench::kConsumerProcessor);
  for (auto _ : state) {
    const Ref<Channel> channel = Channel::create(max_size);
    double seconds = 0;
    for (std::uint64_t batch = 0; batch < kBatches; ++batch) {
      const double start = bench::now_s();
      for (std::uint64_t i = 0; i < kBatch; ++i) {
        Message message;
        fill(message, bytes);
        if (channel->try_send(message) != Status::ok) std::abort();
      }
      seconds += bench::now_s() - start;
      for (std::uint64_t i = 0; i < kBatch; ++i) {
        Message message;
        if (channel->try_receive(message) != Status::ok) std::abort();
      }
    }
    state.SetIterationTime(seconds);
  }
  bench::unpin();
  state.counters["send_ns"] = benchmark::Counter(
      static_cast<double>(kBatch * kBatches) * static_cast<double>(state.iterations()) * 1e-9,
      benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  bench::report(state, kBatch * kBatches, bytes);
}

// Latency
// --------------------------------------------------------------------------------------------

/// There and back through two rings, both sides awake.
void SpscRing_PingPong(benchmark::State& state) {
  constexpr std::uint64_t kTurns = 200'000;
  const auto bytes = static_cast<std::size_t>(state.range(0));
  const Segment there = Segment::create_shared(SpscRing::bytes_for(kRingBytes));
  const Segment back = Segment::create_shared(SpscRing::bytes_for(kRingBytes));
  for (auto _ : state) {
    for (const Segment* const segment : {&there, &back}) {
      SpscRing::format(segment->memory(), kRingBytes);
    }
    const auto turn = [&](const Segment& out, const Segment& in, bool first, std::uint64_t turns) {
      SpscProducer producer(out.memory(), kRingBytes);
      SpscConsumer consumer(in.memory(), kRingBytes);
      for (std::uint64_t i = 0; i < turns; ++i) {
        if (first) produce(producer, 1, bytes, Publish::each, 1);
        consume(consumer, 1);
        if (!first) produce(producer, 1, bytes, Publish::each, 1);
      }
    };
    state.SetIterationTime(bench::stream(
        1, kTurns, [&](unsigned, std::uint64_t turns) { turn(back, there, false, turns); },
        [&](std::uint64_t turns) { turn(there, back, true, turns); }));
  }
  state.counters["round_trip_ns"] = benchmark::Counter(
      static_cast<double>(kTurns) * static_cast<double>(state.iterations()) * 1e-9,
      benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

/// There and back through two channels. The receivers sleep at once, or spin first as usual.
void Channel_PingPong(benchmark::State& state, bool sleeping) {
  std::uint64_t const turns = sleeping ? 20'000 : 100'000;
  for (auto _ : state) {
    const Ref<Channel> there = Channel::create(0);
    const Ref<Channel> back = Channel::create(0);
    there->add_sender();
    back->add_sender();
    const auto receive = [&](Channel& channel) {
      ThreadWaiter me;
      Message message;
      ThreadWaiter::Wake wake{};
      while (!sleeping) {
        if (channel.receive(message, kNoDeadline, me, &wake) == Status::ok) return;
      }
      for (bool received = false; !received;) {
        channel.data_waiters().add(me);
        received = channel.try_receive(message) == Status::ok;
        if (!received) (void)me.park(kNoDeadline);
        if (me.leave(channel.data_waiters()) && received) channel.pass_on_data();
      }
    };
    const auto send = [&](Channel& channel) {
      Message message;
      fill(message, 64);
      if (channel.try_send(message) != Status::ok) std::abort();
    };
    state.SetIterationTime(bench::stream(
        1, turns,
        [&](unsigned, std::uint64_t count) {
          for (std::uint64_t i = 0; i < count; ++i) {
            receive(*there);
            send(*back);
          }
        },
        [&](std::uint64_t count) {
          for (std::uint64_t i = 0; i < count; ++i) {
            send(*there);
            receive(*back);
          }
        }));
  }
  state.counters["round_trip_ns"] = benchmark::Counter(
      static_cast<double>(turns) * static_cast<double>(state.iterations()) * 1e-9,
      benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

/// From just before a send until the receiver, which had been asleep for `range` us on the other
/// processor, has the message.
void Channel_WakeToRun(benchmark::State& state) {
  constexpr std::uint64_t kWakes = 2'000;
  std::int64_t const asleep_ns = state.range(0) * 1000;
  std::vector<double> latencies;
  std::vector<double> costs;
  for (auto _ : state) {
    const Ref<Channel> channel = Channel::create(0);
    channel->add_sender();
    state.SetIterationTime(bench::stream(
        1, kWakes,
        [&](unsigned, std::uint64_t wakes) {
          for (std::uint64_t i = 0; i < wakes; ++i) {
            while (channel->data_waiters().waiting() == 0) spin_pause(0);
            std::int64_t const until = now_ns() + asleep_ns;
            while (now_ns() < until) spin_pause(0);
            Message message;
            std::int64_t const sent = now_ns();
            std::memcpy(message.extend(sizeof sent), &sent, sizeof sent);
            if (channel->try_send(message) != Status::ok) std::abort();
            costs.push_back(static_cast<double>(now_ns() - sent) * 1e-3);
          }
        },
        [&](std::uint64_t wakes) {
          ThreadWaiter me;
          ThreadWaiter::Wake wake{};
          for (std::uint64_t i = 0; i < wakes; ++i) {
            Message message;
            if (channel->receive(message, kNoDeadline, me, &wake) != Status::ok) std::abort();
            std::int64_t sent = 0;
            std::memcpy(&sent, message.bytes().data(), sizeof sent);
            latencies.push_back(static_cast<double>(now_ns() - sent) * 1e-3);
          }
        }));
  }
  bench::report_latency(state, "wake_to_run", latencies);
  bench::report_latency(state, "waking_send", costs);
}

#define STREAM ->UseManualTime()->Iterations(1)->Unit(benchmark::kMillisecond)

BENCHMARK_CAPTURE(SpscRing_Stream, published_each, Publish::each, 1)
STREAM->ArgName("bytes")->Arg(64)->Arg(1024)->Arg(16'384);
BENCHMARK_CAPTURE(SpscRing_Stream, batch_of_8, Publish::batch, 8) STREAM->ArgName("bytes")->Arg(64);
BENCHMARK_CAPTURE(SpscRing_Stream, batch_of_32, Publish::batch, 32)
STREAM->ArgName("bytes")->Arg(64);
BENCHMARK_CAPTURE(SpscRing_Stream, with_wake_check, Publish::wake_check, 1)
STREAM->ArgName("bytes")->Arg(64)->Arg(1024)->Arg(16'384);
BENCHMARK(MpscRing_Stream)
STREAM->ArgNames({"producers", "bytes", "wake_check"})
    ->Args({1, 64, 0})
    ->Args({2, 64, 0})
    ->Args({4, 64, 0})
    ->Args({1, 64, 1})
    ->Args({4, 64, 1})
    ->Args({1, 1024, 0})
    ->Args({4, 1024, 0})
    ->Args({1, 16'384, 0})
    ->Args({4, 16'384, 0});
BENCHMARK(Queue_Stream)
STREAM->ArgNames({"producers", "bytes"})
    ->Args({1, 64})
    ->Args({4, 64})
    ->Args({1, 1024})
    ->Args({1, 16'384})
    ->Args({4, 16'384});
BENCHMARK_CAPTURE(Channel_Stream, unbounded, 0)
STREAM->ArgNames({"producers", "bytes"})
    ->Args({1, 64})
    ->Args({4, 64})
    ->Args({1, 1024})
    ->Args({1, 16'384});
BENCHMARK_CAPTURE(Channel_Stream, bounded_at_4_MiB, 4 << 20)
STREAM->ArgNames({"producers", "bytes"})
    ->Args({1, 64})
    ->Args({4, 64})
    ->Args({1, 1024})
    ->Args({1, 16'384})
    ->Args({4, 16'384});
BENCHMARK_CAPTURE(Channel_SendAlone, unbounded, 0) STREAM->ArgName("bytes")->Arg(64)->Arg(1024);
BENCHMARK_CAPTURE(Channel_SendAlone, bounded, 4 << 20) STREAM->ArgName("bytes")->Arg(64);
BENCHMARK(SpscRing_PingPong) STREAM->ArgName("bytes")->Arg(64);
BENCHMARK_CAPTURE(Channel_PingPong, awake, false) STREAM;
BENCHMARK_CAPTURE(Channel_PingPong, asleep, true) STREAM;
BENCHMARK(Channel_WakeToRun) STREAM->ArgName("asleep_us")->Arg(50)->Arg(200);

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) { return penstock::bench::run(argc, argv, nullptr); }
