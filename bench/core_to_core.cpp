// SPDX-License-Identifier: Apache-2.0
// core_to_core: nanoseconds until one processor sees what another one has stored. A virtual machine
// that its host moves about has several answers, and with them several speeds of everything that
// two processors do together.
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace {

constexpr int kTurns = 100'000;

void stay_on(std::size_t processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  if (sched_setaffinity(0, sizeof set, &set) == 0) return;
  std::perror("core_to_core: processors 0 and 1");
  std::exit(1);
}

alignas(128) std::atomic<int> turn{0};

/// Waits for `mine` and passes on: every other turn is ours.
void play(int mine) {
  for (; mine < 2 * kTurns; mine += 2) {
    while (turn.load(std::memory_order_acquire) != mine) {
    }
    turn.store(mine + 1, std::memory_order_release);
  }
}

}  // namespace

int main() {
  std::thread other([] {
    stay_on(1);
    play(1);
  });
  stay_on(0);
  const auto start = std::chrono::steady_clock::now();
  play(0);
  other.join();
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  std::printf("%.1f\n", took.count() / (2 * kTurns));
}
