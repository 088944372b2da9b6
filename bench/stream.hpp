// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <benchmark/benchmark.h>
#include <sched.h>
#include <sys/utsname.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

/// What the benchmarks of core and their baselines share, so that both measure the same: N messages
/// through a transport by real threads, timed from the common start to the consumer's last message.
namespace penstock::bench {

inline constexpr int kConsumerProcessor = 0;
inline constexpr int kProducerProcessor = 1;

inline void pin(int processor) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(processor, &one);
  sched_setaffinity(0, sizeof one, &one);
}

/// Back to all processors: two or more producers share them with the consumer as the kernel likes.
inline void unpin() {
  cpu_set_t all;
  CPU_ZERO(&all);
  for (unsigned i = 0; i < std::thread::hardware_concurrency(); ++i) CPU_SET(i, &all);
  sched_setaffinity(0, sizeof all, &all);
}

/// Waits for the other side, twice as long each time (a poll takes the line that the other side is
/// writing, so a consumer that polls at once slows its producer down), then lets others run.
class Backoff {
 public:
  void pause() {
    if (++turn_ >= 16) {
      sched_yield();
      return;
    }
    for (unsigned left = 1U << std::min(turn_, 6U); left > 0; --left) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  }
  void reset() { turn_ = 0; }

 private:
  unsigned turn_ = 0;
};

inline double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Runs produce(id, messages) in `producers` threads and consume(all messages) in this one;
/// seconds. One producer has a processor of its own, several are not pinned.
template <class Produce, class Consume>
double stream(unsigned producers, std::uint64_t messages, Produce produce, Consume consume) {
  std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false};
  std::uint64_t const each = messages / producers;
  std::vector<std::jthread> threads;
  for (unsigned id = 0; id < producers; ++id) {
    threads.emplace_back([&, id] {
      if (producers == 1) {
        pin(kProducerProcessor);
      } else {
        unpin();
      }
      ready.fetch_add(1);
      while (!go.load(std::memory_order_acquire)) sched_yield();
      produce(id, each);
    });
  }
  if (producers == 1) {
    pin(kConsumerProcessor);
  } else {
    unpin();
  }
  while (ready.load() != producers) sched_yield();
  const double start = now_s();
  go.store(true, std::memory_order_release);
  consume(each * producers);
  const double seconds = now_s() - start;
  threads.clear();
  unpin();
  return seconds;
}

inline void report(benchmark::State& state, std::uint64_t messages, std::size_t bytes) {
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(messages));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(messages * bytes));
}

/// Reports a latency: `seconds` for `turns` of there and back, or of one way.
inline void report_latency(benchmark::State& state, const char* name,
                           std::vector<double>& microseconds) {
  std::sort(microseconds.begin(), microseconds.end());
  const auto at = [&](double share) {
    auto const index = static_cast<std::size_t>(share * static_cast<double>(microseconds.size()));
    return microseconds[std::min(index, microseconds.size() - 1)];
  };
  state.counters[std::string(name) + "_p50_us"] = at(0.5);
  state.counters[std::string(name) + "_p99_us"] = at(0.99);
  state.counters[std::string(name) + "_p999_us"] = at(0.999);
}

/// As many messages of this size as take some tenths of a second.
inline std::uint64_t messages_for(std::size_t bytes) {
  return bytes <= 64 ? 2'000'000 : bytes <= 1024 ? 600'000 : 60'000;
}

inline std::string first_line(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) != 0) continue;
    std::size_t const colon = line.find(':');
    return colon == std::string::npos ? line : line.substr(colon + 2);
  }
  return "unknown";
}

/// main() of a benchmark: names machine and build, repeats and interleaves unless told otherwise.
inline int run(int argc, char** argv, const char* baseline_of) {
  std::string defaults[] = {"--benchmark_repetitions=9",
                            "--benchmark_enable_random_interleaving=true",
                            "--benchmark_display_aggregates_only=true"};
  std::vector<char*> arguments{argv[0]};
  for (std::string& argument : defaults) arguments.push_back(argument.data());
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  int count = static_cast<int>(arguments.size());
  utsname system{};
  uname(&system);
  benchmark::AddCustomContext("cpu", first_line("/proc/cpuinfo", "model name"));
  benchmark::AddCustomContext("kernel", std::string(system.sysname) + " " + system.release);
  benchmark::AddCustomContext("compiler", __VERSION__);
  benchmark::AddCustomContext("load_before", first_line("/proc/loadavg", ""));
  benchmark::AddCustomContext(
      "pinning", "consumer on processor 0 and a single producer on 1; several producers: nothing");
  if (baseline_of != nullptr) benchmark::AddCustomContext("baseline_of", baseline_of);
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace penstock::bench
