// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

/// Memory of long messages: allocated by one thread and freed by another, which is what mimalloc is
/// best at (a 1 KiB block crosses in 0.2 us, glibc's in 1 us). Sanitizer builds use malloc, so that
/// the tools see every block. Slabs are mapped.
namespace penstock::memory {

[[nodiscard]] void* allocate(std::size_t bytes) noexcept;
[[nodiscard]] void* reallocate(void* block, std::size_t bytes) noexcept;
void free(void* block) noexcept;

/// `count` adjacent blocks of `bytes` each (a power of two, whole pages): zeroed, aligned to their
/// size, and resident, because one call for all costs 1 us a page where touching them one by one
/// costs 3 to 10. Each is given back by unmap_block().
[[nodiscard]] void* map_blocks(std::size_t count, std::size_t bytes) noexcept;
void unmap_block(void* block, std::size_t bytes) noexcept;

/// Lets the `countdown`-th allocation from now, and all after it, fail; 0 turns that off. Tests
/// only.
void fail_after(unsigned long countdown) noexcept;

}  // namespace penstock::memory
