// SPDX-License-Identifier: Apache-2.0
#include "uring_reactor.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <new>

namespace penstock::io_uring {

namespace {

/// A request that was told to end does so in the same system call. As often is looked for it.
constexpr int kPatience = 1000;

/// What epoll would say to watching it, 0 or an errno. A poll request for a file that is always
/// ready succeeds, and one for a descriptor that is none fails too late to be told.
int unwatchable(int fd) noexcept {
  struct stat status {};
  if (fstat(fd, &status) != 0) return errno;
  if (S_ISSOCK(status.st_mode) || S_ISFIFO(status.st_mode)) return 0;
  const Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  return epoll && epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

}  // namespace

std::unique_ptr<UringReactor> UringReactor::create(const Ring::Options& options) noexcept {
  if (const int error = Ring::probe()) {
    errno = error;
    return nullptr;
  }
  Alarm alarm = Alarm::create();
  if (!alarm) return nullptr;
  std::unique_ptr<Ring> ring = Ring::take(options);
  if (ring == nullptr) return nullptr;
  try {
    return std::unique_ptr<UringReactor>(
        new UringReactor(options, std::move(alarm), std::move(ring)));
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
    return nullptr;
  }
}

UringReactor::~UringReactor() {
  const Turn turn(*this);
  if (ring_ == nullptr || !ring_->is_mine()) return;
  // Explicitly: a child that was forked meanwhile keeps the ring, and with it all requests, open.
  watches_->for_each([this](int fd, Watch& watch) {
    if (watch.armed) cancel(WatchTable::tag(fd, watch));
    watches_->remove(watch);
  });
  listed_.clear();
  alarm_wanted_ = false;
  if (alarm_armed_) cancel(WatchTable::kAlarmTag);
  settle_cancelled();
  if (cancelled_ == 0) Ring::give_back(std::move(ring_));
}

// The ring
// ---------------------------------------------------------------------------------------------

bool UringReactor::take_ring() noexcept {
  if (ring_ == nullptr || ring_->is_claimed()) {
    drop_ring();  // First, for its descriptor.
    ring_ = Ring::take(options_);
  }
  if (ring_ != nullptr && ring_->claim()) return true;
  give_up_ring();
  return false;
}

/// With all its requests, which are made anew in the next.
void UringReactor::drop_ring() noexcept {
  ring_ = nullptr;
  cancels_.clear();
  cancelled_ = 0;
  alarm_armed_ = false;
  late_.clear();
  for (const int fd : listed_) watches_->place(fd)->listed = false;
  listed_.clear();
  watches_->for_each([this](int fd, Watch& watch) {
    watch.armed = false;
    watch.late = 0;
    if (watch.interest != 0) list(fd, watch);
  });
}

void UringReactor::give_up_ring() noexcept {
  ring_ = nullptr;
  fallback_ = EpollReactor::take_over(std::move(watches_), alarm_.fd());
}

void UringReactor::restart() noexcept {
  alarm_.part_from_parent();
  is_asleep_ = false;
  if (fallback_ == nullptr) drop_ring();  // Unmapped and closed; the parent's goes on.
}

// Watching
// -----------------------------------------------------------------------------------------

bool UringReactor::reserve() noexcept {
  std::size_t const needed = watches_->size();
  if (needed <= cancels_.capacity()) return true;
  try {
    // So that nothing allocates later. The capacity of the last is that of all.
    listed_.reserve(2 * needed);
    late_.reserve(2 * needed);
    cancels_.reserve(2 * needed);
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

int UringReactor::watch(int fd, Interest interest, Trigger trigger, void* owner) noexcept {
  if (const int error = unwatchable(fd)) {
    forget(fd);
    return error;
  }
  {
    const Turn turn(*this);
    if (fallback_ != nullptr) return fallback_->watch(fd, interest, trigger, owner);
    Watch* const watch = watches_->place(fd);
    if (watch == nullptr || !reserve()) return ENOMEM;
    // Always a new request: the number may be another file's by now.
    if (watch->armed) cancel(WatchTable::tag(fd, *watch));
    watch->armed = false;
    watches_->replace(*watch, interest, trigger, owner);
    if (interest != 0) list(fd, *watch);
    if (!is_asleep_) return 0;
  }
  wake();  // The thread that sleeps has the ring.
  return 0;
}

void UringReactor::forget(int fd) noexcept {
  {
    const Turn turn(*this);
    if (fallback_ != nullptr) return fallback_->forget(fd);
    Watch* const watch = watches_->find(fd);
    if (watch == nullptr) return;
    if (watch->armed) cancel(WatchTable::tag(fd, *watch));
    watch->armed = false;
    watches_->remove(*watch);
    if (cancelled_ == 0) return;
    if (!is_asleep_) {
      // Another thread's requests cannot be ended by this one, but together with their ring.
      if (has_ring()) settle_cancelled();
      if (ring_ != nullptr && ring_->error() != 0) give_up_ring();
      return;
    }
  }
  wake();  // The thread that sleeps has the ring.
}

void UringReactor::list(int fd, Watch& watch) noexcept {
  if (watch.listed) return;
  watch.listed = true;
  listed_.push_back(fd);
}

void UringReactor::cancel(std::uint64_t tag) noexcept {
  // A thread that sleeps has shown all of them to the kernel.
  if (!is_asleep_ && ring_->pending() != 0 && ring_->retract(tag)) return;
  cancels_.push_back(tag);
  ++cancelled_;
}

void UringReactor::settle_cancelled() noexcept {
  for (int turn = 0; cancelled_ != 0 && turn < kPatience && ring_->error() == 0; ++turn) {
    submit_changes();
    ring_->enter(0);
    ring_->reap([this](const io_uring_cqe& cqe) {
      Interest what = 0;
      Watch* const watch = settle(cqe, &what);
      // A level is asked for anew in any case; an edge would not come again.
      if (watch == nullptr || watch->trigger == Trigger::level) return true;
      if (watch->late == 0) late_.push_back(WatchTable::fd_of(cqe.user_data));
      watch->late |= what;
      return true;
    });
  }
}

bool UringReactor::request_poll(int fd, std::uint32_t events, bool once,
                                std::uint64_t tag) noexcept {
  io_uring_sqe* const sqe = ring_->submission();
  if (sqe == nullptr) return false;
  if (once) {
    io_uring_prep_poll_add(sqe, fd, events);
  } else {
    io_uring_prep_poll_multishot(sqe, fd, events);
  }
  sqe->user_data = tag;
  return true;
}

void UringReactor::submit_changes() noexcept {
  std::size_t done = 0;
  for (; done < cancels_.size(); ++done) {
    io_uring_sqe* const sqe = ring_->submission();
    if (sqe == nullptr) break;
    io_uring_prep_cancel64(sqe, cancels_[done], 0);
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = Ring::kIgnoredTag;
  }
  cancels_.erase(cancels_.begin(), cancels_.begin() + static_cast<std::ptrdiff_t>(done));
  if (!cancels_.empty()) return;  // The order matters.
  if (alarm_wanted_ && !alarm_armed_) {
    alarm_armed_ = request_poll(alarm_.fd(), POLLIN, false, WatchTable::kAlarmTag);
  }
  for (done = 0; done < listed_.size(); ++done) {
    const int fd = listed_[done];
    Watch& watch = *watches_->place(fd);
    if (watch.interest != 0 && !watch.armed) {
      watch.armed = request_poll(fd, poll_events_of(watch.interest),
                                 watch.trigger == Trigger::level && !watch.as_edge,
                                 WatchTable::tag(fd, watch));
      if (!watch.armed) break;
    }
    watch.listed = false;
  }
  listed_.erase(listed_.begin(), listed_.begin() + static_cast<std::ptrdiff_t>(done));
}

// Events
// -------------------------------------------------------------------------------------------

Watch* UringReactor::settle(const io_uring_cqe& cqe, Interest* what) noexcept {
  std::uint64_t const tag = cqe.user_data;
  const bool ended = (cqe.flags & IORING_CQE_F_MORE) == 0;
  Watch* const watch = watches_->find_tagged(tag);
  if (watch == nullptr) {
    if (tag == WatchTable::kAlarmTag && alarm_wanted_) {
      alarm_armed_ = !ended;
    } else if (tag != Ring::kIgnoredTag && ended) {
      --cancelled_;
    }
    return nullptr;
  }
  if (cqe.res == -EBADF) {  // Closed without forget(). Epoll would not tell either.
    watch->armed = false;
    watches_->remove(*watch);
    return nullptr;
  }
  // None that we know of; epoll may do better.
  if (cqe.res < 0 && !Ring::passes(-cqe.res)) ring_->fail(-cqe.res);
  *what = cqe.res > 0 ? wanted_of(static_cast<std::uint32_t>(cqe.res), watch->interest) : 0;
  const bool is_level = watch->trigger == Trigger::level;
  if (is_level && !ended && *what != 0) {
    cancel(tag);
    ++watch->generation;
  }
  if (ended || (is_level && *what != 0)) {
    watch->armed = false;
    // Else it would be told at once, and again and again, that the peer writes no more.
    watch->as_edge = is_level && *what == 0;
    list(WatchTable::fd_of(tag), *watch);
  }
  return *what != 0 ? watch : nullptr;
}

std::span<const Event> UringReactor::harvest() noexcept {
  watches_->begin_batch();
  std::size_t done = 0;
  for (; done < late_.size() && !watches_->full(); ++done) {
    Watch& watch = *watches_->place(late_[done]);
    if (watch.late != 0) watches_->report(watch, watch.late);
    watch.late = 0;
  }
  late_.erase(late_.begin(), late_.begin() + static_cast<std::ptrdiff_t>(done));
  for (;;) {
    ring_->reap([&](const io_uring_cqe& cqe) {
      Interest what = 0;
      if (Watch* const watch = settle(cqe, &what)) watches_->report(*watch, what);
      return !watches_->full();
    });
    if (watches_->full() || !ring_->overflowed() || ring_->error() != 0) break;
    ring_->enter(0);
  }
  return watches_->batch();
}

std::span<const Event> UringReactor::poll() noexcept {
  {
    const Turn turn(*this);
    if (is_asleep_) return {};
    if (has_ring()) {
      submit_changes();
      if (ring_->wants_entry()) ring_->enter(0);
      if (ring_->error() == 0) return harvest();
      give_up_ring();
    }
  }
  return fallback_->poll();
}

std::span<const Event> UringReactor::wait(std::int64_t deadline) noexcept {
  if (begin_sleep(&deadline)) {
    // What the kernel has for us is told by two words of the ring, without a system call.
    const auto has_something = [this] {
      if (ring_->pending() != 0) ring_->enter(0);
      return ring_->has_completions() || ring_->wants_entry();
    };
    if (deadline != at_once && !may_sleep(deadline, has_something)) deadline = at_once;
    if (deadline == no_deadline) {
      ring_->enter(1, Ring::no_timeout);
    } else {
      std::int64_t const left = std::max<std::int64_t>(0, deadline - now_ns());
      ring_->enter(left == 0 ? 0 : 1, left);
    }
    const Turn turn(*this);
    is_asleep_ = false;
    if (ring_->error() == 0) return harvest();
    give_up_ring();
  }
  return fallback_->wait(may_sleep() ? deadline : at_once);
}

/// From here on others leave the ring alone. Brings the deadline forward if there is something
/// already. False: there is no ring.
bool UringReactor::begin_sleep(std::int64_t* deadline) noexcept {
  const Turn turn(*this);
  if (!has_ring()) return false;
  submit_changes();
  if (!late_.empty() || ring_->has_completions()) *deadline = at_once;
  is_asleep_ = true;
  return true;
}

}  // namespace penstock::io_uring
