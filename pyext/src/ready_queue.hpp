// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <utility>

#include "ref.hpp"

namespace penstock::python {

/// The callbacks that a loop runs next, in order: handles, each with a reference of the queue's.
///
/// Threads: with the GIL. Cost: O(1); memory grows to the longest queue there was.
class ReadyQueue {
 public:
  ReadyQueue() = default;
  ReadyQueue(const ReadyQueue&) = delete;
  ReadyQueue& operator=(const ReadyQueue&) = delete;
  ~ReadyQueue() { clear(); }

  [[nodiscard]] bool empty() const noexcept { return head_ == tail_; }
  [[nodiscard]] std::size_t size() const noexcept { return tail_ - head_; }
  /// Borrowed; `index` < size().
  [[nodiscard]] PyObject* operator[](std::size_t index) const noexcept {
    return slots_[(head_ + index) & mask_];
  }

  /// Takes the reference in any case. False: MemoryError is set.
  [[nodiscard]] bool push(PyRef handle) {
    if (size() == capacity_ && !grow()) return false;
    slots_[tail_++ & mask_] = handle.take();
    return true;
  }

  /// Not when empty.
  [[nodiscard]] PyRef pop() noexcept { return PyRef::steal(slots_[head_++ & mask_]); }

  /// Has the processor fetch the handle at `index`, if there is one.
  void prefetch(std::size_t index) const noexcept {
    if (index < size()) __builtin_prefetch((*this)[index]);
  }

  /// What a handle drops may add others; these go as well.
  void clear() {
    while (!empty()) (void)pop();
  }

 private:
  bool grow() {
    const std::size_t capacity = capacity_ == 0 ? 64 : capacity_ * 2;
    std::unique_ptr<PyObject*[]> slots(new (std::nothrow) PyObject*[capacity]);
    if (slots == nullptr) {
      PyErr_NoMemory();
      return false;
    }
    const std::size_t count = size();
    for (std::size_t i = 0; i < count; ++i) slots[i] = (*this)[i];
    slots_ = std::move(slots);
    capacity_ = capacity;
    mask_ = capacity - 1;
    head_ = 0;
    tail_ = count;
    return true;
  }

  std::unique_ptr<PyObject*[]> slots_;
  std::size_t capacity_ = 0;  // A power of two, or 0.
  std::size_t mask_ = 0;
  std::size_t head_ = 0;  // Both only grow.
  std::size_t tail_ = 0;
};

}  // namespace penstock::python
