// SPDX-License-Identifier: Apache-2.0
#include "penstock/memory.hpp"

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

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

void* map_blocks(std::size_t count, std::size_t bytes) noexcept {
  if (must_fail()) return nullptr;
  std::size_t const wanted = count * bytes;
  std::size_t const mapped = wanted + bytes;  // One more, to cut to alignment.
  void* const address =
      mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) return nullptr;
  auto* const first = static_cast<std::uint8_t*>(address);
  std::size_t const before = (bytes - reinterpret_cast<std::uintptr_t>(first) % bytes) % bytes;
  std::size_t const after = mapped - before - wanted;
  if (before != 0) munmap(first, before);
  if (after != 0) munmap(first + before + wanted, after);
  // An optimisation only: an older kernel that refuses it lets the pages come one by one.
  madvise(first + before, wanted, MADV_POPULATE_WRITE);
  return first + before;
}

void unmap_block(void* block, std::size_t bytes) noexcept { munmap(block, bytes); }

}  // namespace penstock::memory
