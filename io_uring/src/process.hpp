// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace penstock::io_uring {

/// Has forks counted from here on, in the children.
void count_forks() noexcept;
/// How many forks lie between the process that counted first and this one.
[[nodiscard]] std::uint32_t forks() noexcept;

/// Names the calling thread: no other one of the process ever has the same number, 0 none.
[[nodiscard]] std::uint64_t this_thread() noexcept;

}  // namespace penstock::io_uring
