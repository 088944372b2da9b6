// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "penstock/byte_stream.hpp"
#include "report.hpp"

namespace penstock::kill {

/// What a process does that reads a stream: each read waits for Report::go. Report::begun and
/// Report::received are positions: what it may have read, and what it knows that it has.
struct StreamScript {
  const char* name;
  std::uint64_t max_size;
  std::uint32_t retains;
  std::array<std::size_t, 3> reads;
};

/// Does not return nullptr.
[[nodiscard]] const StreamScript* stream_script_named(std::string_view name);

/// The byte at a position.
[[nodiscard]] constexpr std::uint8_t stream_byte(std::uint64_t position) {
  return static_cast<std::uint8_t>((position * 0x9E3779B97F4A7C15ULL) >> 41);
}
[[nodiscard]] std::vector<std::uint8_t> stream_bytes(std::uint64_t from, std::size_t count);

/// The next `count` bytes, or fewer at an end; waits for them as Python's reads do.
[[nodiscard]] std::vector<std::uint8_t> read_stream(ByteStream& stream, std::size_t count);

/// `number`: of its process.
[[noreturn]] void stream_victim(std::string_view script, Report& report, const Target& target,
                                Fate fate, unsigned number, std::uint64_t capacity);

}  // namespace penstock::kill
