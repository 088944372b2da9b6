// SPDX-License-Identifier: Apache-2.0
// What core_bench is to be compared with: the same streams through a mutex, a condition variable
// and a std::deque, and through Boost's byte ring. An executable without core, because libmimalloc
// would take over its malloc. Noise: see core_bench.cpp.
#include <array>
#include <boost/lockfree/spsc_queue.hpp>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "stream.hpp"

namespace penstock {
namespace {

using bench::Backoff;

/// The textbook queue.
class MutexDeque {
 public:
  void send(std::string message) {
    {
      const std::lock_guard guard(mutex_);
      messages_.push_back(std::move(message));
    }
    not_empty_.notify_one();
  }
  std::string receive() {
    std::unique_lock guard(mutex_);
    not_empty_.wait(guard, [this] { return !messages_.empty(); });
    std::string message = std::move(messages_.front());
    messages_.pop_front();
    return message;
  }

 private:
  std::mutex mutex_;
  std::condition_variable not_empty_;
  std::deque<std::string> messages_;
};

void MutexDeque_Stream(benchmark::State& state) {
  const auto producers = static_cast<unsigned>(state.range(0));
  const auto bytes = static_cast<std::size_t>(state.range(1));
  std::uint64_t const messages = bench::messages_for(bytes) / 2;
  const std::string payload(bytes, 'x');
  for (auto _ : state) {
    MutexDeque queue;
    state.SetIterationTime(bench::stream(
        producers, messages,
        [&](unsigned, std::uint64_t each) {
          for (std::uint64_t i = 0; i < each; ++i) queue.send(payload);
        },
        [&](std::uint64_t all) {
          for (std::uint64_t i = 0; i < all; ++i) {
            benchmark::DoNotOptimize(queue.receive());
          }
        }));
  }
  bench::report(state, messages, bytes);
}

/// Each message is a length and its bytes, pushed and popped as two runs of characters.
void BoostSpscQueue_Stream(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  std::uint64_t const messages = bench::messages_for(bytes);
  using Ring = boost::lockfree::spsc_queue<char>;
  for (auto _ : state) {
    Ring ring(1 << 20);
    state.SetIterationTime(bench::stream(
        1, messages,
        [&](unsigned, std::uint64_t each) {
          std::vector<char> record(sizeof(std::uint64_t) + bytes, 'x');
          std::memcpy(record.data(), &bytes, sizeof bytes);
          Backoff backoff;
          for (std::uint64_t i = 0; i < each; ++i) {
            while (ring.write_available() < record.size()) backoff.pause();
            backoff.reset();
            ring.push(record.data(), record.size());
          }
        },
        [&](std::uint64_t all) {
          std::vector<char> record(bytes);
          Backoff backoff;
          for (std::uint64_t i = 0; i < all; ++i) {
            std::uint64_t length = 0;
            while (ring.read_available() < sizeof length) backoff.pause();
            ring.pop(reinterpret_cast<char*>(&length), sizeof length);
            while (ring.read_available() < length) backoff.pause();
            backoff.reset();
            ring.pop(record.data(), length);
            benchmark::DoNotOptimize(record.data());
          }
        }));
  }
  bench::report(state, messages, bytes);
}

void MutexDeque_PingPong(benchmark::State& state) {
  constexpr std::uint64_t kTurns = 20'000;
  const std::string payload(64, 'x');
  for (auto _ : state) {
    MutexDeque there;
    MutexDeque back;
    state.SetIterationTime(bench::stream(
        1, kTurns,
        [&](unsigned, std::uint64_t turns) {
          for (std::uint64_t i = 0; i < turns; ++i) back.send(there.receive());
        },
        [&](std::uint64_t turns) {
          for (std::uint64_t i = 0; i < turns; ++i) {
            there.send(payload);
            benchmark::DoNotOptimize(back.receive());
          }
        }));
  }
  state.counters["round_trip_ns"] = benchmark::Counter(
      static_cast<double>(kTurns) * static_cast<double>(state.iterations()) * 1e-9,
      benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

/// As Channel_WakeToRun.
void MutexDeque_WakeToRun(benchmark::State& state) {
  constexpr std::uint64_t kWakes = 2'000;
  const double asleep_s = static_cast<double>(state.range(0)) * 1e-6;
  std::vector<double> latencies;
  std::vector<double> costs;
  std::atomic<std::uint64_t> received{0};
  for (auto _ : state) {
    MutexDeque queue;
    received = 0;
    state.SetIterationTime(bench::stream(
        1, kWakes,
        [&](unsigned, std::uint64_t wakes) {
          for (std::uint64_t i = 0; i < wakes; ++i) {
            while (received.load() != i) std::this_thread::yield();
            double const until = bench::now_s() + asleep_s;
            while (bench::now_s() < until) {
            }
            double const sent = bench::now_s();
            queue.send(std::string(reinterpret_cast<const char*>(&sent), sizeof sent));
            costs.push_back((bench::now_s() - sent) * 1e6);
          }
        },
        [&](std::uint64_t wakes) {
          for (std::uint64_t i = 0; i < wakes; ++i) {
            const std::string message = queue.receive();
            double sent = 0;
            std::memcpy(&sent, message.data(), sizeof sent);
            latencies.push_back((bench::now_s() - sent) * 1e6);
            received.fetch_add(1);
          }
        }));
  }
  bench::report_latency(state, "wake_to_run", latencies);
  bench::report_latency(state, "waking_send", costs);
}

/// As Channel_SendAlone.
void MutexDeque_SendAlone(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  constexpr std::uint64_t kBatch = 500;
  constexpr std::uint64_t kBatches = 1000;
  const std::string payload(bytes, 'x');
  bench::pin(bench::kConsumerProcessor);
  for (auto _ : state) {
    MutexDeque queue;
    double seconds = 0;
    for (std::uint64_t batch = 0; batch < kBatches; ++batch) {
      const double start = bench::now_s();
      for (std::uint64_t i = 0; i < kBatch; ++i) queue.send(payload);
      seconds += bench::now_s() - start;
      for (std::uint64_t i = 0; i < kBatch; ++i) benchmark::DoNotOptimize(queue.receive());
    }
    state.SetIterationTime(seconds);
  }
  bench::unpin();
  state.counters["send_ns"] = benchmark::Counter(
      static_cast<double>(kBatch * kBatches) * static_cast<double>(state.iterations()) * 1e-9,
      benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  bench::report(state, kBatch * kBatches, bytes);
}

#define STREAM ->UseManualTime()->Iterations(1)->Unit(benchmark::kMillisecond)

BENCHMARK(MutexDeque_Stream)
STREAM->ArgNames({"producers", "bytes"})
    ->Args({1, 64})
    ->Args({2, 64})
    ->Args({4, 64})
    ->Args({1, 1024})
    ->Args({1, 16'384});
BENCHMARK(BoostSpscQueue_Stream) STREAM->ArgName("bytes")->Arg(64)->Arg(1024)->Arg(16'384);
BENCHMARK(MutexDeque_SendAlone) STREAM->ArgName("bytes")->Arg(64)->Arg(1024);
BENCHMARK(MutexDeque_PingPong) STREAM;
BENCHMARK(MutexDeque_WakeToRun) STREAM->ArgName("asleep_us")->Arg(50)->Arg(200);

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) { return penstock::bench::run(argc, argv, "core_bench"); }
