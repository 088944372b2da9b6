// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef PENSTOCK_SLAB_BYTES
#define PENSTOCK_SLAB_BYTES 65536
#endif

namespace penstock::slab {

/// A slab's address leaves this many low values free for an offset and a flag in one 64-bit word.
inline constexpr std::size_t kAlignment = 65536;
/// Record space. Smaller only under the explorer, where few records must cross many slab ends.
inline constexpr std::size_t kBytes = PENSTOCK_SLAB_BYTES;
static_assert(kBytes % 8 == 0 && kBytes <= kAlignment);
static_assert(kBytes / 8 << 1 < kAlignment, "an offset one past the end must fit, beside the flag");

/// All zero, aligned; from the process-wide free list if it has one, nullptr when memory ran out.
/// Edge Q4: what the giver did before give() is visible.
[[nodiscard]] std::uint8_t* take() noexcept;
/// `slab` is all zero and nobody else refers to it. Kept for the next take(), up to 4 MiB in all.
void give(std::uint8_t* slab) noexcept;

}  // namespace penstock::slab
