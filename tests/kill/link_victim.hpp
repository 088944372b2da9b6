// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "report.hpp"

namespace penstock::kill {

inline constexpr std::uint64_t kLinkFrames = 5;
/// Of one piece, of several, and of more than the ring holds.
[[nodiscard]] constexpr std::size_t link_frame_size(std::uint64_t index) {
  constexpr std::size_t kSizes[kLinkFrames] = {8, 300'000, 1'100'000, 8, 1000};
  return kSizes[index];
}

/// A worker at its end of a Link; does not return.
[[noreturn]] void link_victim(std::string_view script, Report& report, const Target& target,
                              Fate fate);

}  // namespace penstock::kill
