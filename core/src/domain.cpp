// SPDX-License-Identifier: Apache-2.0
#include "penstock/domain.hpp"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <new>
#include <system_error>
#include <utility>

#include "penstock/thread.hpp"

namespace penstock {

namespace {

/// A living process that was stopped while it took a message keeps others from recovering.
constexpr std::int64_t kRetry_ns = 5'000'000;

}  // namespace

struct Domain::Bells {
  struct alignas(kBellStride) Bell {
    Atomic<std::uint32_t> rings;
    Atomic<std::int32_t> pid;
  };
  static_assert(sizeof(Bell) == kBellStride && offsetof(Bell, pid) == kPidOffset);
  Bell of[kMost];
};

Domain::Domain(Segment segment, unsigned number) noexcept
    : segment_(std::move(segment)),
      bells_(*reinterpret_cast<Bells*>(segment_.memory().data())),
      number_(number),
      // Others know of nobody that is gone.
      numbers_(number == 0 ? 1 : ~std::uint64_t{0}) {}

Domain::~Domain() = default;

Ref<Domain> Domain::create() {
  auto domain =
      Ref<Domain>::steal(new Domain(Segment::create_shared(sizeof(Bells), "penstock-bells"), 0));
  domain->start();
  return domain;
}

Ref<Domain> Domain::join(int descriptor, unsigned number, std::shared_ptr<const void> company) {
  Segment segment = Segment::attach(descriptor, sizeof(Bells));
  if (number >= kMost) throw std::system_error(EINVAL, std::generic_category(), "number");
  auto domain = Ref<Domain>::steal(new Domain(std::move(segment), number));
  domain->company_ = std::move(company);
  domain->start();
  return domain;
}

void Domain::start() {
  set_pid(number_, getpid());
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

void Domain::set_pid(unsigned number, std::int32_t pid) noexcept {
  bells_.of[number].pid.store(pid, order::relaxed);
}

std::int32_t Domain::pid(unsigned number) const noexcept {
  return bells_.of[number].pid.load(order::relaxed);
}

void Domain::ring(unsigned number) noexcept {
  if (!segment_.is_here()) return;
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
  bool is_any_undone = false;
  for (unsigned number = 0; number < kMost; ++number) {
    std::uint64_t const mark = std::uint64_t{1} << number;
    if ((dead & mark) == 0) continue;
    bool is_undone = true;
    for (const Ref<Shareable>& object : at_hand_) {
      if (!object->recover(number)) is_undone = false;
    }
    if (is_undone) {
      bells_.of[number].pid.store(0, order::relaxed);
      dead_.fetch_and(~mark, order::relaxed);
      numbers_.fetch_and(~mark, order::release("D5"));
      is_any_undone = true;
    } else {
      is_done = false;
    }
  }
  if (is_any_undone) ring_all();
  return is_done;
}

/// Whom the dead was about to call: it had taken the mark away, and no bell rang. Nobody can tell
/// who that was, so all look, and mark again what they wait for.
void Domain::ring_all() noexcept {
  std::uint64_t const others = numbers_.load(order::relaxed) & ~(std::uint64_t{1} << number_);
  for (std::uint64_t left = others; left != 0; left &= left - 1) {
    ring(static_cast<unsigned>(std::countr_zero(left)));
  }
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

std::size_t Domain::list(std::vector<Ref<Shareable>>& some, std::size_t most) {
  some.reserve(most);
  const std::lock_guard lock(mutex_);
  for (Shareable* const object : objects_) {
    if (some.size() == most) break;
    if (object->try_retain()) some.push_back(Ref<Shareable>::steal(object));
  }
  return objects_.size();
}

void Domain::remove(Shareable& object) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = std::find(objects_.begin(), objects_.end(), &object);
  if (found == objects_.end()) return;
  *found = objects_.back();
  objects_.pop_back();
}

}  // namespace penstock
