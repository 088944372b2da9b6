// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "report.hpp"

namespace penstock::kill {

/// From now on accesses to the memory that this process shares are counted, and it dies or stops
/// before the target. Without one nothing is counted, and all is as fast as it is.
void arm(Report& report, const Target& target, Fate fate);

/// Accesses of this thread to any word or copied byte, for who counts how long a call takes.
[[nodiscard]] std::uint64_t& accesses_of_thread() noexcept;
void count_accesses_of_threads() noexcept;

}  // namespace penstock::kill
