// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace penstock::fuzz {

/// What the fuzzer made up, taken from its front. At its end there are only zeros.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

  [[nodiscard]] bool is_over() const { return rest_.empty(); }
  std::uint8_t byte() { return static_cast<std::uint8_t>(number(1)); }
  std::uint64_t word() { return number(8); }
  /// Of so many bytes, least significant first.
  std::uint64_t number(std::size_t bytes) {
    std::uint64_t value = 0;
    const std::span<const std::uint8_t> taken = take(bytes);
    if (!taken.empty()) std::memcpy(&value, taken.data(), taken.size());
    return value;
  }
  std::span<const std::uint8_t> take(std::size_t most) {
    const auto taken = rest_.first(most < rest_.size() ? most : rest_.size());
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

 private:
  std::span<const std::uint8_t> rest_;
};

/// Ends the process, which the fuzzer takes for a finding.
inline void require(bool holds) {
  if (!holds) __builtin_trap();
}

/// Each byte that is said to be ours is.
inline void touch(std::span<const std::uint8_t> bytes) {
  std::uint64_t sum = 0;
  for (std::uint8_t const byte : bytes) sum += byte;
  asm volatile("" : : "r"(sum));  // As if somebody looked at it.
}

}  // namespace penstock::fuzz
