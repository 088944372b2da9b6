// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <type_traits>

namespace penstock::python {

/// A stack of plain values whose first `Inside` need no allocation. Nothing is initialised before
/// it is pushed.
template <class T, std::size_t Inside>
class SmallStack {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  SmallStack() noexcept : data_(reinterpret_cast<T*>(inside_)) {}
  SmallStack(const SmallStack&) = delete;
  SmallStack& operator=(const SmallStack&) = delete;
  ~SmallStack() {
    if (is_outside()) std::free(data_);
  }

  /// False when memory ran out.
  [[nodiscard]] bool push(const T& value) noexcept {
    if (size_ == capacity_ && !grow()) return false;
    data_[size_++] = value;
    return true;
  }
  void pop() noexcept { --size_; }
  void shrink(std::size_t size) noexcept { size_ = size; }
  [[nodiscard]] T& top() noexcept { return data_[size_ - 1]; }
  [[nodiscard]] T& operator[](std::size_t index) noexcept { return data_[index]; }
  [[nodiscard]] const T& operator[](std::size_t index) const noexcept { return data_[index]; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] T* begin() noexcept { return data_; }
  [[nodiscard]] T* end() noexcept { return data_ + size_; }

 private:
  [[nodiscard]] bool is_outside() const noexcept {
    return data_ != reinterpret_cast<const T*>(inside_);
  }
  [[nodiscard]] bool grow() noexcept {
    std::size_t const bytes = 2 * capacity_ * sizeof(T);
    void* block = is_outside() ? std::realloc(data_, bytes) : std::malloc(bytes);
    if (block == nullptr) return false;
    if (!is_outside()) std::memcpy(block, inside_, sizeof inside_);
    data_ = static_cast<T*>(block);
    capacity_ *= 2;
    return true;
  }

  T* data_;
  std::size_t size_ = 0;
  std::size_t capacity_ = Inside;
  alignas(T) unsigned char inside_[Inside * sizeof(T)];
};

}  // namespace penstock::python
