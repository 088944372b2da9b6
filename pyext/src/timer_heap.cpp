// SPDX-License-Identifier: Apache-2.0
#include "timer_heap.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <utility>

#include "handle.hpp"

namespace penstock::python {

namespace {

/// Children of one: they are one or two cache lines.
constexpr std::size_t kArity = 4;

/// Fewer cancelled ones than this are never worth a look at all.
constexpr std::size_t kCancelledFew = 100;

PyObject* as_object(HandleObject* timer) noexcept { return reinterpret_cast<PyObject*>(timer); }

}  // namespace

bool TimerHeap::push(HandleObject& timer) {
  // What is no time is due at once, as with asyncio.
  const double when =
      std::isnan(timer.when) ? -std::numeric_limits<double>::infinity() : timer.when;
  try {
    entries_.push_back({when, next_number_++, &timer});
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
  (void)PyRef::borrow(as_object(&timer)).take();
  timer.is_scheduled = true;
  rise(entries_.size() - 1);
  return true;
}

PyRef TimerHeap::pop() noexcept {
  HandleObject* const timer = entries_.front().timer;
  timer->is_scheduled = false;
  if (timer->is_cancelled) --cancelled_;
  entries_.front() = entries_.back();
  entries_.pop_back();
  if (!entries_.empty()) sink(0);
  return PyRef::steal(as_object(timer));
}

void TimerHeap::drop_cancelled() {
  while (!entries_.empty() && entries_.front().timer->is_cancelled) (void)pop();
}

void TimerHeap::cancelled(HandleObject& timer) {
  if (entries_.back().timer == &timer) {
    timer.is_scheduled = false;
    entries_.pop_back();
    drop(as_object(&timer));  // Not the last reference: whoever cancels has one.
    return;
  }
  ++cancelled_;
  if (cancelled_ > kCancelledFew && cancelled_ * 2 > entries_.size()) compact();
}

void TimerHeap::compact() {
  // Dropped at the end: what that runs may use this heap.
  std::vector<PyRef> dropped;
  try {
    dropped.reserve(cancelled_);
  } catch (const std::bad_alloc&) {
    return;
  }
  const auto end = std::remove_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    if (!entry.timer->is_cancelled) return false;
    entry.timer->is_scheduled = false;
    dropped.push_back(PyRef::steal(as_object(entry.timer)));
    return true;
  });
  entries_.erase(end, entries_.end());
  cancelled_ = 0;
  if (entries_.size() < 2) return;
  for (std::size_t i = (entries_.size() - 2) / kArity + 1; i-- > 0;) sink(i);
}

void TimerHeap::clear() {
  while (!entries_.empty()) {
    HandleObject* const timer = entries_.back().timer;
    entries_.pop_back();
    timer->is_scheduled = false;
    drop(as_object(timer));
  }
  cancelled_ = 0;
}

void TimerHeap::rise(std::size_t index) noexcept {
  const Entry entry = entries_[index];
  while (index > 0) {
    const std::size_t parent = (index - 1) / kArity;
    if (!entry.is_before(entries_[parent])) break;
    entries_[index] = entries_[parent];
    index = parent;
  }
  entries_[index] = entry;
}

void TimerHeap::sink(std::size_t index) noexcept {
  const Entry entry = entries_[index];
  for (;;) {
    const std::size_t first = index * kArity + 1;
    if (first >= entries_.size()) break;
    const std::size_t end = std::min(first + kArity, entries_.size());
    std::size_t least = first;
    for (std::size_t i = first + 1; i < end; ++i) {
      if (entries_[i].is_before(entries_[least])) least = i;
    }
    if (!entries_[least].is_before(entry)) break;
    entries_[index] = entries_[least];
    index = least;
  }
  entries_[index] = entry;
}

}  // namespace penstock::python
