// SPDX-License-Identifier: Apache-2.0
// What a turn of an event loop costs in its reactor, on both backends. reactor_echo has whole
// requests.
#include "penstock/io_uring/reactor.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>

#include "stream.hpp"

namespace penstock::io_uring {
namespace {

struct Sockets {
  Sockets() {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
  }
  ~Sockets() {
    close(ends[0]);
    close(ends[1]);
  }
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;
  void put() const {
    if (write(ends[1], "x", 1) != 1) std::abort();
  }
  void take() const {
    char byte = 0;
    if (read(ends[0], &byte, 1) != 1) std::abort();
  }
  int ends[2] = {-1, -1};
};

/// Processor time of one turn.
void tell_ns(benchmark::State& state) {
  using benchmark::Counter;
  state.counters["ns"] = Counter(1e-9, Counter::kIsIterationInvariantRate | Counter::kInvert);
}

std::unique_ptr<Reactor> make(const benchmark::State& state) {
  auto reactor = Reactor::create(state.range(0) == 0 ? Preference::epoll : Preference::io_uring);
  if (reactor == nullptr) std::abort();
  return reactor;
}

/// Until there is an event, as a loop waits.
void wait(Reactor& reactor) {
  std::size_t count = 0;
  while (count == 0) {
    reactor.prepare_to_wait();
    count = reactor.wait(Reactor::no_deadline).size();
    reactor.after_wait();
  }
}

/// A loop that has callbacks to run looks in between.
void poll_of_nothing(benchmark::State& state) {
  const auto reactor = make(state);
  const Sockets sockets;
  int owner = 0;
  (void)reactor->watch(sockets.ends[0], readable, Trigger::edge, &owner);
  for (auto _ : state) benchmark::DoNotOptimize(reactor->poll().size());
  tell_ns(state);
}

void wake_of_an_awake_loop(benchmark::State& state) {
  const auto reactor = make(state);
  for (auto _ : state) reactor->wake();
  tell_ns(state);
}

/// Without the two calls for the byte: see a_byte.
void event_of(benchmark::State& state, Trigger trigger) {
  const auto reactor = make(state);
  const Sockets sockets;
  int owner = 0;
  (void)reactor->watch(sockets.ends[0], readable, trigger, &owner);
  for (auto _ : state) {
    sockets.put();
    wait(*reactor);
    sockets.take();
  }
  tell_ns(state);
}
void event_of_an_edge(benchmark::State& state) { event_of(state, Trigger::edge); }
void event_of_a_level(benchmark::State& state) { event_of(state, Trigger::level); }

/// An operation that waits for its socket once, like sock_recv.
void watch_event_forget(benchmark::State& state) {
  const auto reactor = make(state);
  const Sockets sockets;
  int owner = 0;
  for (auto _ : state) {
    (void)reactor->watch(sockets.ends[0], readable, Trigger::level, &owner);
    sockets.put();
    wait(*reactor);
    sockets.take();
    reactor->forget(sockets.ends[0]);
  }
  tell_ns(state);
}

/// One that is given up, or a connection that is closed.
void watch_poll_forget(benchmark::State& state) {
  const auto reactor = make(state);
  const Sockets sockets;
  int owner = 0;
  for (auto _ : state) {
    (void)reactor->watch(sockets.ends[0], readable, Trigger::level, &owner);
    (void)reactor->poll();
    reactor->forget(sockets.ends[0]);
  }
  tell_ns(state);
}

void a_byte(benchmark::State& state) {
  const Sockets sockets;
  for (auto _ : state) {
    sockets.put();
    sockets.take();
  }
  tell_ns(state);
}

/// A reactor that is made, used and dropped.
void a_life(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(make(state)->poll().size());
  tell_ns(state);
}

/// How late a wait for 100 us ends.
void lateness(benchmark::State& state) {
  const auto reactor = make(state);
  std::int64_t late = 0;
  for (auto _ : state) {
    std::int64_t const until = now_ns() + 100'000;
    reactor->prepare_to_wait();
    (void)reactor->wait(until);
    reactor->after_wait();
    late += now_ns() - until;
  }
  state.counters["late_us"] =
      static_cast<double>(late) / 1e3 / static_cast<double>(state.iterations());
}

/// There and back between two loops that sleep.
void wake_of_a_sleeping_loop(benchmark::State& state) {
  const std::unique_ptr<Reactor> loops[2] = {make(state), make(state)};
  std::atomic<std::uint64_t> ball{0};
  std::atomic<bool> over{false};
  const auto play = [&](unsigned me, std::uint64_t mine) {
    Reactor& reactor = *loops[me];
    while (ball != mine && !over) {
      reactor.prepare_to_wait();
      if (ball != mine && !over) (void)reactor.wait(Reactor::no_deadline);
      reactor.after_wait();
    }
    ++ball;
    loops[1 - me]->wake();
  };
  std::thread other([&] {
    for (std::uint64_t mine = 1; !over; mine += 2) play(1, mine);
  });
  std::uint64_t mine = 0;
  for (auto _ : state) {
    play(0, mine);
    mine += 2;
  }
  over = true;
  loops[1]->wake();
  other.join();
  tell_ns(state);
}

#define ON_BOTH ->ArgName("io_uring")->Arg(0)->Arg(1)->MinTime(0.05)

BENCHMARK(poll_of_nothing) ON_BOTH;
BENCHMARK(wake_of_an_awake_loop) ON_BOTH;
BENCHMARK(a_byte)->MinTime(0.05);
BENCHMARK(event_of_an_edge) ON_BOTH;
BENCHMARK(event_of_a_level) ON_BOTH;
BENCHMARK(watch_event_forget) ON_BOTH;
BENCHMARK(watch_poll_forget) ON_BOTH;
BENCHMARK(a_life) ON_BOTH;
BENCHMARK(lateness) ON_BOTH;
BENCHMARK(wake_of_a_sleeping_loop) ON_BOTH->UseRealTime();

}  // namespace
}  // namespace penstock::io_uring

int main(int argc, char** argv) { return penstock::bench::run(argc, argv, nullptr); }
