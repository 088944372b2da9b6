// SPDX-License-Identifier: Apache-2.0
#include "shadow.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <stdexcept>

namespace penstock::model {

Shadow::Shadow(Arena& arena) : arena_(arena) {
  void* memory = mmap(nullptr, Arena::kBytes / 4 * sizeof(Cell), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory for the explorer's shadow");
  cells_ = static_cast<Cell*>(memory);
}

void Shadow::start(Cell& cell, std::uintptr_t address) {
  cell = {};
  cell.generation = generation_;
  if (!arena_.is_large(address)) return;
  Arena::Large* const block = arena_.large_at(address);
  if (block == nullptr) return;
  block->touched_from = std::min(block->touched_from, address);
  block->touched_to = std::max(block->touched_to, address + 4);
  cell.freed = block->freed;
}

}  // namespace penstock::model
