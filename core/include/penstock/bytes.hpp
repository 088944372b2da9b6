// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "penstock/message.hpp"
#include "penstock/ref.hpp"
#include "penstock/wire.hpp"

/// Messages of byte channels: the bytes themselves, or a reference to bytes that live elsewhere.
/// Either way a message counts against max_size with exactly as many bytes as it stands for.
namespace penstock::bytes {

/// From this size on a message refers to an Erlang binary instead of holding a copy. (Measured: of
/// 3 KiB, four times as many messages a second; of 1 KiB, no more.)
inline constexpr std::size_t kReferThreshold = 2 * 1024;

/// From this size on a stream refers to a binary, and a message to an object of Python's.
/// (Measured: copies that are collected in chunks are faster for a stream's reader up to here.)
inline constexpr std::size_t kPinThreshold = 8 * 1024;

/// Appends a copy to an empty message. False when memory ran out.
[[nodiscard]] bool copy_into(Message& message, std::span<const std::uint8_t> bytes) noexcept;

/// Makes an empty message refer to `pinned`, which has at least kReferThreshold bytes. False when
/// memory ran out.
[[nodiscard]] bool refer_to(Message& message, Ref<wire::PinnedBytes> pinned) noexcept;

/// What a message holds, borrowed from it: bytes, and their owner if they live elsewhere.
struct View {
  std::span<const std::uint8_t> bytes;
  wire::PinnedBytes* pinned;
};
[[nodiscard]] View view(const Message& message) noexcept;

}  // namespace penstock::bytes
