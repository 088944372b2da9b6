// SPDX-License-Identifier: Apache-2.0
#include "watch_table.hpp"

#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <new>

namespace penstock::io_uring {

static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLERR == POLLERR &&
              EPOLLHUP == POLLHUP && EPOLLRDHUP == POLLRDHUP);

std::uint32_t poll_events_of(Interest interest) noexcept {
  // Who only writes is not to hear of the peer's end again and again.
  return ((interest & readable) != 0 ? POLLIN | POLLRDHUP : 0U) |
         ((interest & writable) != 0 ? POLLOUT : 0U);
}

Interest wanted_of(std::uint32_t poll_events, Interest interest) noexcept {
  // io_uring reports the peer's end to everybody.
  std::uint32_t const events = poll_events & (poll_events_of(interest) | POLLHUP | POLLERR);
  Interest what = 0;
  if ((events & (POLLIN | POLLRDHUP | POLLHUP | POLLERR)) != 0) what |= readable;
  if ((events & (POLLOUT | POLLHUP | POLLERR)) != 0) what |= writable;
  what &= interest;
  if (what != 0 && (events & (POLLRDHUP | POLLHUP | POLLERR)) != 0) what |= hung_up;
  return what;
}

Watch* WatchTable::place(int fd) noexcept {
  if (!has(fd)) {
    try {
      const auto needed = static_cast<std::size_t>(fd) + 1;
      if (needed > watches_.capacity()) watches_.reserve(std::max(needed, 2 * watches_.capacity()));
      watches_.resize(needed);
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }
  return &at(fd);
}

void WatchTable::replace(Watch& watch, Interest interest, Trigger trigger, void* owner) noexcept {
  if (Event* const event = event_of(watch)) {
    event->what &= interest | hung_up;
    if (owner != watch.owner || (event->what & interest) == 0) event->owner = nullptr;
  }
  watch.owner = owner;
  watch.interest = interest;
  watch.trigger = trigger;
  watch.as_edge = false;
  watch.late = 0;
  ++watch.generation;
}

void WatchTable::remove(Watch& watch) noexcept {
  if (Event* const event = event_of(watch)) event->owner = nullptr;
  watch.owner = nullptr;
  watch.interest = 0;
  watch.late = 0;
  ++watch.generation;
}

void WatchTable::report(Watch& watch, Interest what) noexcept {
  if (Event* const event = event_of(watch)) {
    event->what |= what;
    return;
  }
  watch.batch = batch_;
  watch.position = static_cast<std::uint32_t>(events_);
  batch_events_[events_++] = {watch.owner, what};
}

}  // namespace penstock::io_uring
