// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>

#include "penstock/shim.hpp"

/// The clock of event loops: seconds of CLOCK_MONOTONIC, as time.monotonic() gives them.
namespace penstock::python {

[[nodiscard]] inline double seconds_of(std::int64_t ns) noexcept {
  return static_cast<double>(ns) / 1e9;
}

/// The first nanosecond in which the clock shows `seconds` or more, whatever was rounded.
/// kNoDeadline when that is out of reach; never for NaN, which no timer keeps.
[[nodiscard]] inline std::int64_t deadline_of_seconds_exactly(double seconds) noexcept {
  constexpr double kOutOfReach = 9.2e9;
  if (seconds >= kOutOfReach) return kNoDeadline;
  if (seconds <= 0) return 0;
  auto ns = static_cast<std::int64_t>(std::ceil(seconds * 1e9));
  while (seconds_of(ns) < seconds) ++ns;
  return ns;
}

}  // namespace penstock::python
