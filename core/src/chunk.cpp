// SPDX-License-Identifier: Apache-2.0
#include "penstock/chunk.hpp"

#include <new>

#include "penstock/memory.hpp"

namespace penstock {

Chunk* Chunk::create(std::uint64_t start, std::size_t capacity) noexcept {
  void* const memory = memory::allocate(sizeof(Chunk) + capacity);
  if (memory == nullptr) return nullptr;
  return ::new (memory) Chunk(start, capacity, static_cast<std::uint8_t*>(memory) + sizeof(Chunk));
}

Chunk* Chunk::create(std::uint64_t start, Ref<wire::PinnedBytes>& bytes) noexcept {
  void* const memory = memory::allocate(sizeof(Chunk));
  if (memory == nullptr) return nullptr;
  auto* const chunk = ::new (memory) Chunk(start, bytes->bytes().size(), nullptr);
  chunk->data_ = bytes->bytes().data();
  chunk->pinned_ = Ref<wire::PinnedBytes>::steal(bytes.take());
  return chunk;
}

void Chunk::operator delete(void* memory) noexcept { memory::free(memory); }

}  // namespace penstock
