// SPDX-License-Identifier: Apache-2.0
#include "penstock/shim.hpp"

#ifndef PENSTOCK_MODEL  // The explorer of tests/model brings its own.

#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace penstock {

namespace {

constexpr std::int64_t kNanosPerSecond = 1'000'000'000;

int private_flag(Reach reach) { return reach == Reach::process ? FUTEX_PRIVATE_FLAG : 0; }

}  // namespace

std::int64_t now_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * kNanosPerSecond + now.tv_nsec;
}

bool futex_wait(Atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t deadline_ns,
                Reach reach) noexcept {
  fail_point("futex.wait.before");
  timespec deadline{};
  if (deadline_ns != kNoDeadline) {
    deadline.tv_sec = deadline_ns / kNanosPerSecond;
    deadline.tv_nsec = deadline_ns % kNanosPerSecond;
  }
  // FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC deadline; FUTEX_WAIT a relative one.
  const long result =
      syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | private_flag(reach), expected,
              deadline_ns == kNoDeadline ? nullptr : &deadline, nullptr, FUTEX_BITSET_MATCH_ANY);
  return result == 0 || errno != EINTR;
}

void futex_wake(Atomic<std::uint32_t>* word, int count, Reach reach) noexcept {
  fail_point("futex.wake.before");
  syscall(SYS_futex, word, FUTEX_WAKE | private_flag(reach), count, nullptr, nullptr, 0);
}

bool event_wait(int event, int signals, std::int64_t deadline_ns) noexcept {
  timespec left{};
  if (deadline_ns != kNoDeadline) {
    std::int64_t const left_ns = std::max<std::int64_t>(0, deadline_ns - now_ns());
    left = {left_ns / kNanosPerSecond, left_ns % kNanosPerSecond};
  }
  pollfd watched[] = {{event, POLLIN, 0}, {signals, POLLIN, 0}};
  const int ready = ppoll(watched, 2, deadline_ns == kNoDeadline ? nullptr : &left, nullptr);
  if (ready < 0) return errno != EINTR;
  eventfd_t count = 0;
  if (watched[0].revents != 0) eventfd_read(event, &count);
  return watched[1].revents == 0;
}

void event_raise(int event) noexcept { eventfd_write(event, 1); }

void spin_pause(unsigned turn) noexcept {
  if (turn >= 64) {
    sched_yield();
    return;
  }
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

std::uint32_t spin_limit_ns() noexcept {
  static std::uint32_t const limit = [] {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    // The process's, not this thread's: an Erlang scheduler may be bound to one.
    bool const several =
        sched_getaffinity(getpid(), sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) > 1;
    // Twice a wake-up, which takes 25 us between idle virtual processors and 6 us between real
    // ones.
    return several ? 50'000U : 0U;
  }();
  return limit;
}

#if defined(PENSTOCK_FAIL_POINTS) && !defined(PENSTOCK_WATCHED)
std::atomic<FailPointHook> fail_point_hook{nullptr};
#endif

}  // namespace penstock

#endif  // PENSTOCK_MODEL
