// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "penstock/byte_stream.hpp"

namespace penstock {

/// What a stream was searched for lately, and how far: from the same place on the same bytes are
/// not searched again. (What was written never changes, so this never expires.)
struct ByteStream::Searches {
  /// No `needle` begins in [from, upto).
  struct Entry {
    std::uint64_t from = 0;
    std::uint64_t upto = 0;
    std::size_t size = 0;
    std::array<std::uint8_t, 96> needle;
  };

  /// The entry of `needle` that covers `from`, or nullptr.
  [[nodiscard]] Entry* entry_of(std::span<const std::uint8_t> needle, std::uint64_t from) noexcept;
  /// For a needle that fits: an entry without any range yet, in place of the oldest.
  [[nodiscard]] Entry& replace_oldest(std::span<const std::uint8_t> needle,
                                      std::uint64_t from) noexcept;

  std::array<Entry, 4> entries;
  std::size_t oldest = 0;
};

}  // namespace penstock
