// SPDX-License-Identifier: Apache-2.0
#include "penstock/domain.hpp"

#include <pthread.h>

#include <algorithm>
#include <bit>
#include <new>
#include <system_error>
#include <utility>

#include "penstock/thread.hpp"

namespace penstock {

namespace {

constexpr std::size_t kLine = 128;
/// A living process that was stopped while it took a message keeps others from recovering.
constexpr std::int64_t kRetry_ns = 5'000'000;

}  // namespace

struct Domain::Bells {
  struct alignas(kLine) Bell {
    Atomic<std::uint32_t> rings;
  };
  Bell of[kMost];
};

Domain::Domain(Segment segment, unsigned number) noexcept
    : segment_(std::move(segment)),
      bells_(*reinterpret_cast<Bells*>(segment_.memory().data())),
      number_(number) {}

Domain::~Domain() = default;

Ref<Domain> Domain::create() {
  auto domain = Ref<Domain>::steal(new Domain(Segment::create_shared(sizeof(Bells)), 0));
  domain->start();
  return domain;
}

Ref<Domain> Domain::join(int descriptor, unsigned number) {
  Segment segment = Segment::attach(descriptor, sizeof(Bells));
  if (number >= kMost) throw std::system_error(EINVAL, std::generic_category(), "number");
  auto domain = Ref<Domain>::steal(new Domain(std::move(segment), number));
  domain->start();
  return domain;
}

void Domain::start() {
  static const int watches_forks = pthread_atfork(nullptr, nullptr, FarLine::note_fork);
  if (watches_forks != 0) throw std::bad_alloc();
  const auto body = [](void* of) -> void* {
    name_this_thread("penstock bell");
    Ref<Domain>::steal(static_cast<Domain*>(of))->listen();
    return nullptr;
  };
  retain();  // The thread's own.
  if (start_thread(body, this)) return;
  release();
  throw std::system_error(EAGAIN, std::generic_category(), "a thread");
}

void Domain::leave() noexcept {
  is_left_.store(1, order::relaxed);  // Ordered by D1.
  ring(number_);
}

// Processes
// ------------------------------------------------------------------------------------------------

std::optional<unsigned> Domain::admit() noexcept {
  std::uint64_t numbers = numbers_.load(order::relaxed);
  for (;;) {
    const auto number = static_cast<unsigned>(std::countr_one(numbers));
    if (number == kMost) return {};
    if (numbers_.compare_exchange_weak(numbers, numbers | std::uint64_t{1} << number,
                                       order::acquire("D5"), order::relaxed)) {
      return number;
    }
  }
}

void Domain::ended(unsigned number) noexcept {
  dead_.fetch_or(std::uint64_t{1} << number, order::release("D1"));
  ring(number_);
}

void Domain::ring(unsigned number) noexcept {
  Atomic<std::uint32_t>& bell = bells_.of[number].rings;
  bell.fetch_add(1, order::release("D1"));
  futex_wake(&bell, 1, Reach::machine);
}

// The thread that listens
// ------------------------------------------------------------------------------------------------

void Domain::listen() noexcept {
  Atomic<std::uint32_t>& bell = bells_.of[number_].rings;
  for (;;) {
    std::uint32_t const heard = bell.load(order::acquire("D1"));
    if (is_left_.load(order::relaxed) != 0) return;
    const bool is_done = serve();
    futex_wait(bell, heard, is_done ? kNoDeadline : now_ns() + kRetry_ns, Reach::machine);
  }
}

/// False: something is left to do.
bool Domain::serve() noexcept {
  // Before the objects: one that comes later knows nothing of these.
  std::uint64_t const dead = dead_.load(order::acquire("D1"));
  bool is_done = collect();
  for (const Ref<Shareable>& object : at_hand_) object->look_for_waiters();
  if (dead != 0 && is_done) is_done = recover(dead);
  at_hand_.clear();  // May drop the last reference to some.
  return is_done;
}

bool Domain::recover(std::uint64_t dead) noexcept {
  bool is_done = true;
  for (unsigned number = 0; number < kMost; ++number) {
    std::uint64_t const mark = std::uint64_t{1} << number;
    if ((dead & mark) == 0) continue;
    bool is_undone = true;
    for (const Ref<Shareable>& object : at_hand_) {
      if (!object->recover(number)) is_undone = false;
    }
    if (is_undone) {
      dead_.fetch_and(~mark, order::relaxed);
      numbers_.fetch_and(~mark, order::release("D5"));
    } else {
      is_done = false;
    }
  }
  return is_done;
}

/// False: for want of memory not all are there.
bool Domain::collect() noexcept {
  const std::lock_guard lock(mutex_);
  try {
    at_hand_.reserve(objects_.size());
  } catch (const std::bad_alloc&) {
    return false;
  }
  for (Shareable* const object : objects_) {
    // One whose destructor runs waits for this lock to take itself out.
    if (object->try_retain()) at_hand_.push_back(Ref<Shareable>::steal(object));
  }
  return true;
}

void Domain::add(Shareable& object) {
  const std::lock_guard lock(mutex_);
  objects_.push_back(&object);
}

void Domain::remove(Shareable& object) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = std::find(objects_.begin(), objects_.end(), &object);
  if (found == objects_.end()) return;
  *found = objects_.back();
  objects_.pop_back();
}

}  // namespace penstock
