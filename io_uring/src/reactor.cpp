// SPDX-License-Identifier: Apache-2.0
#include "penstock/io_uring/reactor.hpp"

#include <pthread.h>

#include <cstdlib>
#include <string_view>

#include "epoll_reactor.hpp"

namespace penstock::io_uring {

namespace {

Atomic<std::uint32_t>& fork_count() noexcept {
  static constinit Atomic<std::uint32_t> count{0};
  return count;
}

/// Counts forks from here on. The child has one thread when it counts.
void count_forks() noexcept {
  [[maybe_unused]] static const int registered =
      pthread_atfork(nullptr, nullptr, [] { (void)fork_count().fetch_add(1, order::relaxed); });
}

Preference preference_called(const char* name) noexcept {
  std::string_view const wanted = name == nullptr ? "" : name;
  if (wanted == "io_uring") return Preference::io_uring;
  if (wanted == "epoll") return Preference::epoll;
  return Preference::automatic;
}

}  // namespace

std::unique_ptr<Reactor> Reactor::create(Preference preference) noexcept {
  count_forks();
  (void)preference;
  return EpollReactor::create();
}

Preference Reactor::preference_of_environment() noexcept {
  static const Preference preference = preference_called(std::getenv("PENSTOCK_LOOP_BACKEND"));
  return preference;
}

std::uint32_t Reactor::forks() noexcept { return fork_count().load(order::relaxed); }

void Reactor::start_anew() noexcept {
  forks_seen_ = forks();
  restart();
}

}  // namespace penstock::io_uring
