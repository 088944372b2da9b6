// SPDX-License-Identifier: Apache-2.0
#include "penstock/slab.hpp"

#ifndef PENSTOCK_MODEL  // Boost.Lockfree does not go through the shim; tests/model has its own.

#include <boost/lockfree/stack.hpp>

#include "penstock/memory.hpp"

namespace penstock::slab {

namespace {

constexpr std::size_t kKept = 64;
using FreeList = boost::lockfree::stack<std::uint8_t*, boost::lockfree::capacity<kKept>>;

/// Never destroyed: library threads may still run while the process exits.
FreeList& free_list() {
  static auto* const list = new FreeList;
  return *list;
}

}  // namespace

std::uint8_t* take() noexcept {
  std::uint8_t* slab = nullptr;
  if (free_list().pop(slab)) return slab;
  return static_cast<std::uint8_t*>(memory::allocate_zeroed_aligned(kAlignment));
}

void give(std::uint8_t* slab) noexcept {
  if (!free_list().push(slab)) memory::free(slab);
}

}  // namespace penstock::slab

#endif  // PENSTOCK_MODEL
