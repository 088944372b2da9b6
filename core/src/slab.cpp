// SPDX-License-Identifier: Apache-2.0
#include "penstock/slab.hpp"

#ifndef PENSTOCK_MODEL  // The explorer brings memory that it watches.

#include "penstock/memory.hpp"
#include "penstock/shim.hpp"

namespace penstock::slab {

namespace {

constexpr std::size_t kKept = 64;
/// Mapped together: 140 us every 5,000 short messages, and only while a backlog grows.
constexpr std::size_t kBatch = 8;

/// Free slabs, each in a place of its own. Not a linked list: the head of one would need a tag
/// against ABA, and the 16 bits that Boost.Lockfree's has wrap in the time that a thread may stall.
Atomic<std::uint8_t*>* places() noexcept {
  static constinit Atomic<std::uint8_t*> places[kKept]{};
  return places;
}

std::uint8_t* take_kept() noexcept {
  for (std::size_t i = 0; i < kKept; ++i) {
    Atomic<std::uint8_t*>& place = places()[i];
    if (place.load(order::relaxed) == nullptr) continue;  // A hint; the exchange decides.
    if (std::uint8_t* const slab = place.exchange(nullptr, order::acquire("Q4"))) return slab;
  }
  return nullptr;
}

bool keep(std::uint8_t* slab) noexcept {
  for (std::size_t i = 0; i < kKept; ++i) {
    Atomic<std::uint8_t*>& place = places()[i];
    std::uint8_t* none = place.load(order::relaxed);  // A hint, again.
    if (none == nullptr &&
        place.compare_exchange_strong(none, slab, order::release("Q4"), order::relaxed)) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::uint8_t* take() noexcept {
  if (std::uint8_t* const slab = take_kept()) return slab;
  auto* const slabs = static_cast<std::uint8_t*>(memory::map_blocks(kBatch, kAlignment));
  if (slabs == nullptr) return nullptr;
  for (std::size_t i = 1; i < kBatch; ++i) give(slabs + i * kAlignment);
  return slabs;
}

void give(std::uint8_t* slab) noexcept {
  if (!keep(slab)) memory::unmap_block(slab, kAlignment);
}

}  // namespace penstock::slab

#endif  // PENSTOCK_MODEL
