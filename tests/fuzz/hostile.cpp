// SPDX-License-Identifier: Apache-2.0
#include "hostile.hpp"

#include <algorithm>

#include "penstock/shim.hpp"

namespace penstock::fuzz {

namespace {

thread_local Input* input = nullptr;  // Only who called writes; not a thread that listens.
std::span<std::uint8_t> hostile_memory;
thread_local std::uint64_t accesses = 0, copied = 0;

bool is_hostile(const watched::Access& access) {
  const auto at = reinterpret_cast<std::uintptr_t>(access.address);
  const auto from = reinterpret_cast<std::uintptr_t>(hostile_memory.data());
  return access.bytes != 0 && at >= from && at - from < hostile_memory.size();
}

/// The first bytes of what is about to be read: a bit flipped, a little more or less, or anything.
void scribble(const watched::Access& access) {
  std::size_t const bytes = std::min<std::size_t>(access.bytes, sizeof(std::uint64_t));
  auto* const at =
      const_cast<std::uint8_t*>(static_cast<const volatile std::uint8_t*>(access.address));
  std::uint64_t value = 0;
  std::memcpy(&value, at, bytes);
  std::uint8_t const how = input->byte();
  switch (how & 3) {
    case 0:
      return;
    case 1:
      value ^= std::uint64_t{1} << (how >> 2);
      break;
    case 2:
      value += static_cast<std::uint64_t>(static_cast<std::int64_t>(how >> 2) - 32);
      break;
    default:
      value = input->word();
  }
  std::memcpy(at, &value, bytes);
}

void at_access(const watched::Access& access) noexcept {
  if (input == nullptr) return;
  ++accesses;
  if (access.what == watched::What::copy_in || access.what == watched::What::copy_out) {
    copied += access.bytes;
  }
  if (!input->is_over() && is_hostile(access)) scribble(access);
}

}  // namespace

Hostile::Hostile(Input& from, std::span<std::uint8_t> memory) {
  hostile_memory = memory;
  input = &from;
  watched::hook.store(at_access);
}

Hostile::~Hostile() { input = nullptr; }

void Hostile::restart() { accesses = copied = 0; }

bool Hostile::is_within_bounds() {
  // SharedQueue looks 500 times whether somebody still takes a message.
  return accesses <= 4096 + hostile_memory.size() && copied <= 2 * hostile_memory.size();
}

}  // namespace penstock::fuzz
