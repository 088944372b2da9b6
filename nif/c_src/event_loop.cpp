// SPDX-License-Identifier: Apache-2.0
#include "event_loop.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "atoms.hpp"
#include "owned_env.hpp"
#include "penstock/shim.hpp"
#include "penstock/thread.hpp"

namespace penstock::nif {

namespace {

using io_uring::Interest;

/// Descriptors as owners of watches, which the reactor only gives back.
void* owner_of(int fd) noexcept { return reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)); }
int fd_of(void* owner) noexcept { return static_cast<int>(reinterpret_cast<std::intptr_t>(owner)); }

Interest interest_of(const Ref<EventLoop::Watch>& watch, Interest interest) noexcept {
  return watch && watch->is_wanted && !watch->is_reported ? interest : Interest{0};
}

/// 0 or an errno.
int check(int fd) noexcept {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return errno;
  return S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) ? EPERM : 0;
}

}  // namespace

Ref<EventLoop> EventLoop::start() {
  auto reactor = io_uring::Reactor::create(io_uring::Reactor::preference_of_environment());
  if (reactor == nullptr) return {};
  auto loop = Ref<EventLoop>::steal(new EventLoop(std::move(reactor)));
  const auto body = [](void* argument) -> void* {
    name_this_thread("event loop");
    Ref<EventLoop>::steal(static_cast<EventLoop*>(argument))->run();
    return nullptr;
  };
  loop->retain();  // The thread's own.
  if (start_thread(body, loop.get())) return loop;
  loop->release();
  errno = EAGAIN;
  return {};
}

// The thread
// ------------------------------------------------------------------------------------------------

void EventLoop::run() {
  std::vector<Change> changes;
  std::vector<LoopEvent> found;
  while (prepare(changes)) {
    apply(changes);
    reactor_->prepare_to_wait();
    std::int64_t deadline_ns = 0;
    std::span<const io_uring::Event> events;
    if (may_wait(&deadline_ns)) events = reactor_->wait(deadline_ns);
    reactor_->after_wait();
    found.clear();
    report(events, found);
    deliver(found);
  }
  // What was to be closed before the end.
  apply(changes);
}

/// False: the thread is to end.
bool EventLoop::prepare(std::vector<Change>& changes) {
  const std::lock_guard lock(mutex_);
  changes.clear();
  for (const int fd : changed_) {
    const auto known = slots_.find(fd);
    if (known == slots_.end()) continue;
    const Slot& slot = known->second;
    const bool is_gone = !slot.reader && !slot.writer;
    changes.push_back({fd,
                       static_cast<Interest>(interest_of(slot.reader, io_uring::readable) |
                                             interest_of(slot.writer, io_uring::writable)),
                       is_gone, slot.is_to_be_closed});
    if (is_gone) slots_.erase(known);
  }
  changed_.clear();
  return !is_destroyed_;
}

void EventLoop::apply(const std::vector<Change>& changes) {
  for (const Change& change : changes) {
    if (!change.is_gone) {
      // One that was closed meanwhile cannot become ready.
      (void)reactor_->watch(change.fd, change.interest, io_uring::Trigger::level,
                            owner_of(change.fd));
      continue;
    }
    reactor_->forget(change.fd);
    if (change.is_to_be_closed) ::close(change.fd);
  }
}

/// After prepare_to_wait(): what comes from here on wakes the thread.
bool EventLoop::may_wait(std::int64_t* deadline_ns) {
  const std::lock_guard lock(mutex_);
  *deadline_ns = timers_.empty() ? io_uring::Reactor::no_deadline : timers_.begin()->first.first;
  return !is_destroyed_ && changed_.empty() && *deadline_ns > now_ns();
}

void EventLoop::report_to(std::vector<LoopEvent>& found, const Ref<Watch>& watch) {
  if (!watch || !watch->is_wanted || watch->is_reported) return;
  watch->is_reported = true;
  watch->is_taken = false;
  changed_.insert(watch->fd);
  found.push_back({watch->id, watch->kind});
}

void EventLoop::report(std::span<const io_uring::Event> events, std::vector<LoopEvent>& found) {
  const std::lock_guard lock(mutex_);
  for (const io_uring::Event& event : events) {
    const auto known = slots_.find(fd_of(event.owner));
    if (known == slots_.end()) continue;
    if ((event.what & (io_uring::readable | io_uring::hung_up)) != 0) {
      report_to(found, known->second.reader);
    }
    if ((event.what & io_uring::writable) != 0) report_to(found, known->second.writer);
  }
  const std::int64_t now = now_ns();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    found.push_back({timers_.begin()->second, EventKind::timer});
    timers_.erase(timers_.begin());
  }
}

void EventLoop::deliver(const std::vector<LoopEvent>& found) {
  if (found.empty()) return;
  std::optional<ErlNifPid> worker;
  {
    const std::lock_guard lock(mutex_);
    worker = worker_;
  }
  for (const LoopEvent& event : found) {
    if (worker) {
      const OwnedEnv env;
      const ERL_NIF_TERM message = enif_make_tuple3(
          env.get(), atoms().py_event, enif_make_uint64(env.get(), event.id), atom_of(event.kind));
      if (enif_send(nullptr, &*worker, env.get(), message) != 0) continue;
    }
    add_pending(event);
  }
}

// Descriptors
// ------------------------------------------------------------------------------------------------

void EventLoop::changed(int fd) {
  changed_.insert(fd);
  reactor_->wake();
}

int EventLoop::add(int fd, EventKind kind, std::uint64_t id, Ref<Watch>* watch) {
  if (const int error = check(fd); error != 0) return error;
  auto made = Ref<Watch>::steal(new Watch(fd, kind, id));
  const std::lock_guard lock(mutex_);
  if (is_destroyed_) return ECANCELED;
  Slot& slot = slots_[fd];
  if (slot.is_to_be_closed) return EBADF;
  Ref<Watch>& place = kind == EventKind::read ? slot.reader : slot.writer;
  if (place) place->is_removed = true;
  place = made;
  changed(fd);
  *watch = std::move(made);
  return 0;
}

void EventLoop::forget_pending(const Watch& watch) {
  if (pending_set_.erase({watch.id, watch.kind}) == 0) return;
  std::erase(pending_, LoopEvent{watch.id, watch.kind});
}

void EventLoop::remove(Watch& watch) {
  const std::lock_guard lock(mutex_);
  if (std::exchange(watch.is_removed, true)) return;
  forget_pending(watch);
  const auto known = slots_.find(watch.fd);
  if (known == slots_.end()) return;
  (watch.kind == EventKind::read ? known->second.reader : known->second.writer) = {};
  changed(watch.fd);
}

void EventLoop::close(Watch& watch) {
  const std::lock_guard lock(mutex_);
  if (watch.is_removed) return;
  const auto known = slots_.find(watch.fd);
  if (known == slots_.end()) return;
  for (Ref<Watch>* const each : {&known->second.reader, &known->second.writer}) {
    if (!*each) continue;
    (*each)->is_removed = true;
    forget_pending(**each);
    *each = {};
  }
  known->second.is_to_be_closed = true;
  changed(watch.fd);
}

void EventLoop::want(Watch& watch, bool is_wanted) {
  const std::lock_guard lock(mutex_);
  if (watch.is_removed) return;
  watch.is_wanted = is_wanted;
  watch.is_reported = false;
  watch.is_taken = false;
  if (!is_wanted) forget_pending(watch);
  changed(watch.fd);
}

// Timers
// ------------------------------------------------------------------------------------------------

EventLoop::Timer EventLoop::call_later(std::int64_t delay_ns, std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  const Timer timer{now_ns() + delay_ns, ++last_timer_};
  if (is_destroyed_) return timer;
  timers_.emplace(timer, id);
  reactor_->wake();
  return timer;
}

void EventLoop::cancel(const Timer& timer) {
  const std::lock_guard lock(mutex_);
  timers_.erase(timer);
}

// Events
// ------------------------------------------------------------------------------------------------

std::size_t EventLoop::wait_for_events(std::int64_t deadline_ns) {
  std::unique_lock lock(mutex_);
  rearm_taken();
  const std::uint64_t wakes = wakes_;
  const auto is_over = [&] { return !pending_.empty() || is_destroyed_ || wakes != wakes_; };
  if (deadline_ns == io_uring::Reactor::no_deadline) {
    happened_.wait(lock, is_over);
  } else {
    // steady_clock is CLOCK_MONOTONIC.
    const std::chrono::steady_clock::time_point deadline{std::chrono::nanoseconds(deadline_ns)};
    (void)happened_.wait_until(lock, deadline, is_over);
  }
  return pending_.size();
}

void EventLoop::rearm_taken() {
  for (const auto& [fd, slot] : slots_) {
    for (const Ref<Watch>* const each : {&slot.reader, &slot.writer}) {
      if (!*each || !(*each)->is_taken) continue;
      (*each)->is_taken = false;
      (*each)->is_reported = false;
      changed_.insert(fd);
    }
  }
  if (!changed_.empty()) reactor_->wake();
}

std::vector<LoopEvent> EventLoop::take_pending() {
  const std::lock_guard lock(mutex_);
  rearm_taken();
  for (const auto& [fd, slot] : slots_) {
    for (const Ref<Watch>* const each : {&slot.reader, &slot.writer}) {
      if (!*each || !(*each)->is_reported) continue;
      (*each)->is_taken = pending_set_.contains({(*each)->id, (*each)->kind});
    }
  }
  pending_set_.clear();
  return std::exchange(pending_, {});
}

void EventLoop::add_pending(const LoopEvent& event) {
  const std::lock_guard lock(mutex_);
  if (is_destroyed_ || !pending_set_.insert(event).second) return;
  pending_.push_back(event);
  happened_.notify_all();
}

void EventLoop::wake() {
  const std::lock_guard lock(mutex_);
  ++wakes_;
  happened_.notify_all();
}

void EventLoop::set_worker(std::optional<ErlNifPid> worker) {
  const std::lock_guard lock(mutex_);
  worker_ = worker;
}

void EventLoop::destroy() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(is_destroyed_, true)) return;
  for (auto& [fd, slot] : slots_) {
    for (Ref<Watch>* const each : {&slot.reader, &slot.writer}) {
      if (*each) (*each)->is_removed = true;
    }
  }
  timers_.clear();
  pending_.clear();
  pending_set_.clear();
  happened_.notify_all();
  reactor_->wake();
}

}  // namespace penstock::nif
