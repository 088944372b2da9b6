// SPDX-License-Identifier: Apache-2.0
#include "atom_cache.hpp"

#include <new>

namespace penstock::python {

bool AtomCache::insert(std::uint64_t word, PyObject* value) noexcept {
  // At most half full: a search that fails must end.
  if (2 * (used_ + 1) > mask_ + 1 && !grow()) return false;
  put(word, PyRef::borrow(value).take());
  ++used_;
  return true;
}

void AtomCache::clear() noexcept {
  std::uint64_t const size = slots_ == nullptr ? 0 : mask_ + 1;
  const std::unique_ptr<Slot[]> slots = std::move(slots_);
  used_ = mask_ = 0;
  for (std::uint64_t i = 0; i < size; ++i) drop(slots[i].value);
}

void AtomCache::put(std::uint64_t word, PyObject* value) noexcept {
  std::uint64_t at = place(word) & mask_;
  while (slots_[at].value != nullptr) at = (at + 1) & mask_;
  slots_[at] = {word, value};
}

bool AtomCache::grow() noexcept {
  std::uint64_t const old_size = slots_ == nullptr ? 0 : mask_ + 1;
  std::uint64_t const size = old_size == 0 ? 256 : 2 * old_size;
  std::unique_ptr<Slot[]> slots(new (std::nothrow) Slot[size]());
  if (slots == nullptr) return false;
  slots.swap(slots_);
  mask_ = size - 1;
  for (std::uint64_t i = 0; i < old_size; ++i) {
    if (slots[i].value != nullptr) put(slots[i].word, slots[i].value);
  }
  return true;
}

}  // namespace penstock::python
