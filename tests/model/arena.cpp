// SPDX-License-Identifier: Apache-2.0
#include "arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace penstock::model {

namespace {

constexpr std::uintptr_t kBaseAlignment = 64 * 1024;

std::uintptr_t aligned(std::uintptr_t address, std::uintptr_t alignment) {
  return (address + alignment - 1) & ~(alignment - 1);
}

}  // namespace

Arena::Arena() {
  void* memory = mmap(nullptr, kBytes + kBaseAlignment, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory for the explorer's arena");
  base_ = aligned(reinterpret_cast<std::uintptr_t>(memory), kBaseAlignment);
  small_ = base_ + kStacks * kStackBytes;
  large_ = small_ + kSmallBytes;
  blocks_.reserve(kLargeBytes / kLargeBlock);
  next_small_ = small_;
  next_large_ = large_;
}

Arena::~Arena() = default;  // Lives as long as the process.

Arena::Header& Arena::header_of(const void* block) {
  return *reinterpret_cast<Header*>(reinterpret_cast<std::uintptr_t>(block) - sizeof(Header));
}

void Arena::reset() {
  for (const Large& block : blocks_) {
    if (block.touched_from < block.touched_to) {
      std::memset(reinterpret_cast<void*>(block.touched_from), 0,
                  block.touched_to - block.touched_from);
    }
  }
  blocks_.clear();
  next_small_ = small_;
  next_large_ = large_;
  live_ = 0;
}

void* Arena::allocate(std::size_t bytes, std::size_t alignment) {
  const bool is_big = bytes >= kLargeBlock;
  std::uintptr_t& next = is_big ? next_large_ : next_small_;
  std::uintptr_t const limit = is_big ? large_ + kLargeBytes : large_;
  std::uintptr_t const block = aligned(next + sizeof(Header), std::max(alignment, sizeof(Header)));
  if (block + bytes > limit) return nullptr;
  next = block + bytes;
  auto* const start = reinterpret_cast<void*>(block);
  header_of(start) = {bytes, 1, 0};
  if (is_big) blocks_.push_back({block, block + bytes, block + bytes, block, false});
  ++live_;
  return start;
}

std::size_t Arena::size_of(const void* block) const { return header_of(block).bytes; }

bool Arena::release(void* block) {
  Header& header = header_of(block);
  if (header.live == 0) return false;
  header.live = 0;
  if (header.forgiven == 0) --live_;
  return true;
}

void Arena::forgive(void* block) {
  Header& header = header_of(block);
  if (header.live == 0 || header.forgiven != 0) return;
  header.forgiven = 1;
  --live_;
}

std::byte* Arena::stack(unsigned thread) const {
  return reinterpret_cast<std::byte*>(base_ + thread * kStackBytes);
}

Arena::Large* Arena::large_at(std::uintptr_t address) {
  auto after = std::upper_bound(
      blocks_.begin(), blocks_.end(), address,
      [](std::uintptr_t wanted, const Large& block) { return wanted < block.begin; });
  if (after == blocks_.begin()) return nullptr;
  Large& block = *(after - 1);
  return address < block.end ? &block : nullptr;
}

}  // namespace penstock::model
