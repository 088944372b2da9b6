// SPDX-License-Identifier: Apache-2.0
#include "penstock/message.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "penstock/memory.hpp"
#include "penstock/wire.hpp"

namespace penstock {

bool Message::grow(std::size_t count) noexcept {
  if (count > kMaxBytes - size_) return false;
  std::size_t const capacity = std::bit_ceil(std::max(size_ + count, 4 * kInside));
  const bool inside = data_ == inside_;
  void* block = inside ? memory::allocate(capacity) : memory::reallocate(data_, capacity);
  if (block == nullptr) return false;
  if (inside) std::memcpy(block, inside_, size_);
  data_ = static_cast<std::uint8_t*>(block);
  capacity_ = capacity;
  return true;
}

void Message::disown() noexcept {
  data_ = inside_;
  size_ = 0;
  capacity_ = kInside;
  pinned_ = 0;
  owns_objects_ = is_local_ = is_foreign_ = false;
}

void Message::reset() noexcept {
  if (capacity_ > kMostKept) return clear();
  if (owns_objects_) wire::release_objects(bytes());
  size_ = 0;
  pinned_ = 0;
  owns_objects_ = false;
}

void Message::clear() noexcept {
  if (owns_objects_) wire::release_objects(bytes());
  if (data_ != inside_) memory::free(data_);
  disown();
}

}  // namespace penstock
