// SPDX-License-Identifier: Apache-2.0
#include "penstock/io_uring/reactor.hpp"

#include <cstdlib>
#include <string_view>

#include "epoll_reactor.hpp"
#include "process.hpp"
#include "uring_reactor.hpp"

namespace penstock::io_uring {

namespace {

Preference preference_called(const char* name) noexcept {
  std::string_view const wanted = name == nullptr ? "" : name;
  if (wanted == "io_uring") return Preference::io_uring;
  if (wanted == "epoll") return Preference::epoll;
  return Preference::automatic;
}

}  // namespace

std::unique_ptr<Reactor> Reactor::create(Preference preference) noexcept {
  count_forks();
  if (preference != Preference::epoll) {
    std::unique_ptr<Reactor> ring = UringReactor::create({});
    if (ring != nullptr || preference == Preference::io_uring) return ring;
  }
  return EpollReactor::create();
}

Preference Reactor::preference_of_environment() noexcept {
  // Read once; who changes the environment in another thread meanwhile is not our doing.
  // NOLINTNEXTLINE(concurrency-mt-unsafe)
  static const Preference preference = preference_called(std::getenv("PENSTOCK_LOOP_BACKEND"));
  return preference;
}

std::uint32_t Reactor::forks() noexcept { return io_uring::forks(); }

void Reactor::start_anew() noexcept {
  forks_seen_ = forks();
  taken_.store(0, order::relaxed);  // Whoever had it is a thread of the parent.
  restart();
}

}  // namespace penstock::io_uring
