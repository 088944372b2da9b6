// SPDX-License-Identifier: Apache-2.0
#include "penstock/memory.hpp"

#include <algorithm>
#include <cstring>

#include "engine.hpp"
#include "explorer.hpp"
#include "penstock/slab.hpp"

/// penstock::memory (without its mappings, which only slabs use) and penstock::slab, on the
/// explorer's arena.
namespace penstock {

namespace memory {

namespace {

unsigned long failure_countdown = 0;  // The explorer has one OS thread.

bool must_fail() noexcept {
  if (failure_countdown > 1)
    --failure_countdown;
  else if (failure_countdown == 1)
    return true;
  return false;
}

}  // namespace

void fail_after(unsigned long countdown) noexcept { failure_countdown = countdown; }

void* allocate(std::size_t bytes) noexcept {
  return must_fail() ? nullptr : model::allocate_block(bytes, 16);
}

void* reallocate(void* block, std::size_t bytes) noexcept {
  if (must_fail()) return nullptr;
  void* const other = model::allocate_block(bytes, 16);
  std::size_t const old = model::active->arena.size_of(block);
  std::memcpy(other, block, std::min(old, bytes));
  model::release_block(block);
  return other;
}

void free(void* block) noexcept { model::release_block(block); }

}  // namespace memory

namespace slab {

namespace {

/// The free list, with room for one: what matters of Boost.Lockfree's is that a slab comes back,
/// and that what its giver did is visible to its taker.
constinit Atomic<std::uint8_t*> kept{nullptr};

}  // namespace

std::uint8_t* take() noexcept {
  std::uint8_t* const slab = kept.exchange(nullptr, order::acquire("Q4"));
  if (slab != nullptr || memory::must_fail()) return slab;
  // Large blocks of the arena are zero, as mapped memory is.
  return static_cast<std::uint8_t*>(model::allocate_block(kAlignment, kAlignment));
}

void give(std::uint8_t* slab) noexcept {
  std::uint8_t* none = nullptr;
  if (!kept.compare_exchange_strong(none, slab, order::release("Q4"), order::relaxed)) {
    model::release_block(slab);
  }
}

}  // namespace slab

namespace model {

void drain_slabs() noexcept {
  memory::fail_after(0);
  release_block(slab::kept.exchange(nullptr, order::acquire("drain")));
}

}  // namespace model

}  // namespace penstock
