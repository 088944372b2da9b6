// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "engine.hpp"

/// How the explorer sees what does not go through the shim.
///
/// Core and the scenarios are compiled with -fsanitize=thread, but not linked with its run-time
/// library: the calls that the compiler puts before each plain access to memory end here, and so
/// the links of a waiter list are checked for races as the payload of a record is. Blocks come from
/// the arena, where they are never used twice, so every use after free is found.

namespace {

using penstock::model::Access;
using penstock::model::active;
using penstock::model::Engine;

void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
  if (active == nullptr) {
    return alignment <= alignof(std::max_align_t)
               ? std::malloc(bytes)
               : std::aligned_alloc(alignment, (bytes + alignment - 1) & ~(alignment - 1));
  }
  void* const block = active->arena.allocate(bytes, alignment);
  if (block == nullptr) penstock::model::fail("an execution too large for the explorer's arena");
  return block;
}

void release(void* block) noexcept {
  if (block == nullptr) return;
  if (active == nullptr || !active->arena.contains(block)) {
    std::free(block);
    return;
  }
  Engine& engine = *active;
  const unsigned me = engine.scheduler.me();
  auto from = reinterpret_cast<std::uintptr_t>(block);
  std::uintptr_t to = from + engine.arena.size_of(block);
  auto* const large = engine.arena.is_large(from) ? engine.arena.large_at(from) : nullptr;
  if (large != nullptr) {
    from = large->touched_from;
    to = large->touched_to;
  }
  unsigned other = 0;
  const char* problem = nullptr;
  if (from < to) {
    problem = engine.shadow.check<Access::free>(from, to - from, me, engine.memory.view(me).current,
                                                &other);
  }
  if (large != nullptr) large->freed = true;  // Last: cells that are new would be taken for freed.
  if (!engine.arena.release(block)) problem = "freed twice";
  if (problem != nullptr) penstock::model::fail_race("a free", problem, block, other);
}

}  // namespace

namespace penstock::model {

void* allocate_block(std::size_t bytes, std::size_t alignment) noexcept {
  return allocate(bytes, alignment);
}
void release_block(void* block) noexcept { release(block); }

}  // namespace penstock::model

void* operator new(std::size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new[](std::size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, alignof(std::max_align_t));
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, alignof(std::max_align_t));
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* block) noexcept { release(block); }
void operator delete[](void* block) noexcept { release(block); }
void operator delete(void* block, std::size_t) noexcept { release(block); }
void operator delete[](void* block, std::size_t) noexcept { release(block); }
void operator delete(void* block, const std::nothrow_t&) noexcept { release(block); }
void operator delete(void* block, std::align_val_t) noexcept { release(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { release(block); }
void operator delete(void* block, std::align_val_t, const std::nothrow_t&) noexcept {
  release(block);
}

// Locks of core's, in the arena (-Wl,--wrap): a thread that waits for one lets the others go on.
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)
extern "C" {

int __real_pthread_mutex_lock(pthread_mutex_t* mutex);
int __real_pthread_mutex_unlock(pthread_mutex_t* mutex);

int __wrap_pthread_mutex_lock(pthread_mutex_t* mutex) {
  if (active == nullptr || !active->arena.contains(mutex)) return __real_pthread_mutex_lock(mutex);
  const penstock::model::Word word{mutex, sizeof(std::uint32_t)};
  while (update(word, penstock::model::Update::exchange, 1, {.acquire = true}) != 0) {
    penstock::model::pause();
  }
  return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t* mutex) {
  if (active == nullptr || !active->arena.contains(mutex)) {
    return __real_pthread_mutex_unlock(mutex);
  }
  penstock::model::store({mutex, sizeof(std::uint32_t)}, 0, {.release = true});
  return 0;
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)

// The compiler's ThreadSanitizer interface.
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)

#define PENSTOCK_READ(bytes)                                                              \
  void __tsan_read##bytes(void* at) { penstock::model::plain_read(at, bytes); }           \
  void __tsan_unaligned_read##bytes(void* at) { penstock::model::plain_read(at, bytes); } \
  void __tsan_volatile_read##bytes(void* at) { penstock::model::plain_read(at, bytes); }
#define PENSTOCK_WRITE(bytes)                                                               \
  void __tsan_write##bytes(void* at) { penstock::model::plain_write(at, bytes); }           \
  void __tsan_unaligned_write##bytes(void* at) { penstock::model::plain_write(at, bytes); } \
  void __tsan_volatile_write##bytes(void* at) { penstock::model::plain_write(at, bytes); }

extern "C" {

void __tsan_init() {}
PENSTOCK_READ(1)
PENSTOCK_READ(2)
PENSTOCK_READ(4)
PENSTOCK_READ(8)
PENSTOCK_READ(16)
PENSTOCK_WRITE(1)
PENSTOCK_WRITE(2)
PENSTOCK_WRITE(4)
PENSTOCK_WRITE(8)
PENSTOCK_WRITE(16)
void __tsan_read_range(void* at, std::size_t bytes) { penstock::model::plain_read(at, bytes); }
void __tsan_write_range(void* at, std::size_t bytes) { penstock::model::plain_write(at, bytes); }
void __tsan_vptr_update(void** at, void*) { penstock::model::plain_write(at, sizeof *at); }
void __tsan_vptr_read(void** at) { penstock::model::plain_read(at, sizeof *at); }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

// Guards of function-local statics and the standard library's counts, which no scenario depends on.
std::uint8_t __tsan_atomic8_load(const volatile std::uint8_t* at, int) { return *at; }
std::uint32_t __tsan_atomic32_fetch_add(volatile std::uint32_t* at, std::uint32_t value, int) {
  return std::exchange(*at, *at + value);
}

// Clang makes these of memcpy and its kin; of GCC the linker does (-Wl,--wrap).
void* __tsan_memcpy(void* to, const void* from, std::size_t bytes) {
  penstock::model::plain_read(from, bytes);
  penstock::model::plain_write(to, bytes);
  return std::memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, std::size_t bytes) {
  penstock::model::plain_read(from, bytes);
  penstock::model::plain_write(to, bytes);
  return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, std::size_t bytes) {
  penstock::model::plain_write(to, bytes);
  return std::memset(to, value, bytes);
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
