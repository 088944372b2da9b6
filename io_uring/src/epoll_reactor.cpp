// SPDX-License-Identifier: Apache-2.0
#include "epoll_reactor.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <new>

namespace penstock::io_uring {

namespace {

constexpr std::int64_t kNanosPerSecond = 1'000'000'000;
constexpr std::int64_t kNanosPerMilli = 1'000'000;

epoll_event registration(int fd, const Watch& watch) noexcept {
  epoll_event event{};
  event.events = poll_events_of(watch.interest);
  // Errors and the end are reported unasked, to those who want nothing too: once will do.
  if (watch.trigger == Trigger::edge || watch.interest == 0) event.events |= EPOLLET;
  event.data.u64 = WatchTable::tag(fd, watch);
  return event;
}

Fd open_epoll(int alarm) noexcept {
  Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = WatchTable::kAlarmTag;
  if (epoll && epoll_ctl(epoll.get(), EPOLL_CTL_ADD, alarm, &event) != 0) epoll = Fd();
  return epoll;
}

/// The kernel may be late by the slack when it ends a sleep, 50 us unless told otherwise.
void be_punctual() noexcept {
  [[maybe_unused]] static thread_local const int told = prctl(PR_SET_TIMERSLACK, 1UL);
}

/// Whether epoll_pwait2, which takes nanoseconds, is there: since Linux 5.11, and unless a filter
/// of system calls that is older refuses it.
Atomic<std::uint32_t>& has_pwait2() noexcept {
  static constinit Atomic<std::uint32_t> has{1};
  return has;
}

int wait_until(int epoll, epoll_event* events, std::int64_t deadline) noexcept {
  constexpr int room = WatchTable::kBatch;
  if (deadline == Reactor::at_once) return epoll_wait(epoll, events, room, 0);
  if (deadline == Reactor::no_deadline) return epoll_wait(epoll, events, room, -1);
  be_punctual();
  std::int64_t const left = std::max<std::int64_t>(0, deadline - now_ns());
  if (has_pwait2().load(order::relaxed) != 0) {
    const timespec timeout{left / kNanosPerSecond, left % kNanosPerSecond};
    const long count = syscall(SYS_epoll_pwait2, epoll, events, room, &timeout, nullptr, 0);
    if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(count);
    has_pwait2().store(0, order::relaxed);
  }
  std::int64_t const millis = (left + kNanosPerMilli - 1) / kNanosPerMilli;
  return epoll_wait(epoll, events, room,
                    static_cast<int>(std::min<std::int64_t>(millis, INT32_MAX)));
}

}  // namespace

std::unique_ptr<EpollReactor> EpollReactor::create() noexcept {
  Alarm alarm = Alarm::create();
  if (!alarm) return nullptr;
  const int fd = alarm.fd();
  try {
    std::unique_ptr<EpollReactor> made(
        new EpollReactor(std::make_unique<WatchTable>(), fd, std::move(alarm)));
    if (!made->renew()) made = nullptr;
    return made;
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
    return nullptr;
  }
}

std::unique_ptr<EpollReactor> EpollReactor::take_over(std::unique_ptr<WatchTable> watches,
                                                      int alarm) {
  std::unique_ptr<EpollReactor> made(new EpollReactor(std::move(watches), alarm, Alarm()));
  (void)made->renew();  // Else at the next call.
  return made;
}

int EpollReactor::set(int operation, int fd, const Watch& watch) noexcept {
  epoll_event event = registration(fd, watch);
  return epoll_ctl(epoll_.get(), operation, fd, &event) == 0 ? 0 : errno;
}

int EpollReactor::watch(int fd, Interest interest, Trigger trigger, void* owner) noexcept {
  const Turn turn(*this);
  // Looked at first: the table is as long as the highest number.
  if (fd < 0 || (watches_->is_beyond(fd) && fcntl(fd, F_GETFD) < 0)) return EBADF;
  if (!epoll_ && !renew()) return errno;
  Watch* const watch = watches_->place(fd);
  if (watch == nullptr) return ENOMEM;
  const bool known = watch->owner != nullptr;
  watches_->replace(*watch, interest, trigger, owner);
  int error = set(known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, *watch);
  // It was closed meanwhile, and the number is now another file's; or that file's once more.
  if (error == ENOENT) error = set(EPOLL_CTL_ADD, fd, *watch);
  if (error == EEXIST) error = set(EPOLL_CTL_MOD, fd, *watch);
  if (error != 0) watches_->remove(*watch);
  return error;
}

void EpollReactor::forget(int fd) noexcept {
  const Turn turn(*this);
  Watch* const watch = watches_->find(fd);
  if (watch == nullptr) return;
  watches_->remove(*watch);
  epoll_event unused{};
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, &unused);  // Fails for one that is closed.
}

std::span<const Event> EpollReactor::poll() noexcept { return wait(at_once); }

std::span<const Event> EpollReactor::wait(std::int64_t deadline) noexcept {
  {
    const Turn turn(*this);
    if (haunted_ || !epoll_) (void)renew();
  }
  epoll_event events[WatchTable::kBatch];
  int count = 0;
  const auto has_something = [&] {
    count = wait_until(epoll_.get(), events, at_once);
    return count != 0;
  };
  if (deadline == at_once || may_sleep(deadline, has_something)) {
    count = wait_until(epoll_.get(), events, deadline);
  }
  const Turn turn(*this);
  watches_->begin_batch();
  for (int i = 0; i < count; ++i) {
    std::uint64_t const tag = events[i].data.u64;
    if (tag == WatchTable::kAlarmTag) continue;
    if (Watch* const watch = watches_->find_tagged(tag)) {
      const Interest what = wanted_of(events[i].events, watch->interest);
      if (what != 0) watches_->report(*watch, what);
    } else {
      haunted_ = true;  // Or it was forgotten just now.
    }
  }
  return watches_->batch();
}

void EpollReactor::restart() noexcept {
  if (own_alarm_) own_alarm_.part_from_parent();
  (void)renew();
}

/// The old one goes first: in a process without a descriptor left its own is the one that is free.
bool EpollReactor::renew() noexcept {
  epoll_ = Fd();
  epoll_ = open_epoll(alarm_);
  haunted_ = false;
  if (!epoll_) return false;
  watches_->for_each([this](int fd, Watch& watch) {
    if (set(EPOLL_CTL_ADD, fd, watch) != 0) watches_->remove(watch);
  });
  return true;
}

}  // namespace penstock::io_uring
