// SPDX-License-Identifier: Apache-2.0
#include "process.hpp"

#include <pthread.h>

#include "penstock/shim.hpp"

namespace penstock::io_uring {

namespace {

Atomic<std::uint32_t>& fork_count() noexcept {
  static constinit Atomic<std::uint32_t> count{0};
  return count;
}

}  // namespace

void count_forks() noexcept {
  // The child has one thread when it counts.
  [[maybe_unused]] static const int registered =
      pthread_atfork(nullptr, nullptr, [] { (void)fork_count().fetch_add(1, order::relaxed); });
}

std::uint32_t forks() noexcept { return fork_count().load(order::relaxed); }

std::uint64_t this_thread() noexcept {
  static constinit Atomic<std::uint64_t> last{0};
  static thread_local constinit std::uint64_t number = 0;
  if (number == 0) number = last.fetch_add(1, order::relaxed) + 1;
  return number;
}

}  // namespace penstock::io_uring
