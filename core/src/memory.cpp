// SPDX-License-Identifier: Apache-2.0
#include "penstock/memory.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>

#ifdef PENSTOCK_MIMALLOC
#include <mimalloc.h>
#endif

namespace penstock::memory {

namespace {

std::atomic<unsigned long> failure_countdown{0};

bool must_fail() noexcept {
  unsigned long left = failure_countdown.load(std::memory_order_relaxed);  // A test's own thread.
  if (left == 0) return false;
  if (left > 1) failure_countdown.store(left - 1, std::memory_order_relaxed);
  return left == 1;
}

}  // namespace

void fail_after(unsigned long countdown) noexcept {
  failure_countdown.store(countdown, std::memory_order_relaxed);
}

void* allocate(std::size_t bytes) noexcept {
  if (must_fail()) return nullptr;
#ifdef PENSTOCK_MIMALLOC
  return mi_malloc(bytes);
#else
  return std::malloc(bytes);
#endif
}

void* allocate_zeroed_aligned(std::size_t bytes) noexcept {
  if (must_fail()) return nullptr;
#ifdef PENSTOCK_MIMALLOC
  return mi_zalloc_aligned(bytes, bytes);
#else
  void* block = std::aligned_alloc(bytes, bytes);
  return block == nullptr ? nullptr : std::memset(block, 0, bytes);
#endif
}

void* reallocate(void* block, std::size_t bytes) noexcept {
  if (must_fail()) return nullptr;
#ifdef PENSTOCK_MIMALLOC
  return mi_realloc(block, bytes);
#else
  return std::realloc(block, bytes);
#endif
}

void free(void* block) noexcept {
#ifdef PENSTOCK_MIMALLOC
  mi_free(block);
#else
  std::free(block);
#endif
}

}  // namespace penstock::memory
