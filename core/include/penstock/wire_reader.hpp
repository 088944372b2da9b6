// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>

#include "penstock/big_endian.hpp"
#include "penstock/wire.hpp"

namespace penstock::wire {

/// Bytes after each tag that have a fixed size; -1: no encoder of ours writes such a tag.
inline constexpr auto kHeadBytes = [] {
  std::array<std::int16_t, 256> bytes{};
  bytes.fill(-1);
  for (auto tag : {kTrue, kFalse, kNone, kNil}) bytes[tag] = 0;
  for (auto tag : {kSmallInteger, kSmallTuple, kSmallAtom}) bytes[tag] = 1;
  for (auto tag : {kAtom, kSmallBig}) bytes[tag] = 2;
  for (auto tag : {kInteger, kLargeTuple, kList, kMap, kBinary, kBytes, kBytesTuple})
    bytes[tag] = 4;
  for (auto tag : {kLargeBig, kOpaque}) bytes[tag] = 5;
  for (auto tag : {kFloat, kAtomWord, kPidWord}) bytes[tag] = 8;
  for (auto tag : {kHandle, kPinned, kToken}) bytes[tag] = 9;
  return bytes;
}();

// NOLINTNEXTLINE(readability-function-size): one case for each tag of the format.
[[gnu::always_inline]] inline Status Reader::next_inlined(Item& item) noexcept {
  if (at_ == end_) return Status::corrupt;
  const auto tag = static_cast<Tag>(*at_);
  const int fixed = kHeadBytes[tag];
  if (fixed < 0 || end_ - at_ < 1 + fixed) return Status::corrupt;
  const std::uint8_t* const head = at_ + 1;
  at_ = head + fixed;
  item.tag = tag;
  std::uint64_t trailing = 0;
  std::uint64_t elements = 0;
  switch (tag) {
    case kTrue:
    case kFalse:
    case kNone:
    case kNil:
      break;
    case kSmallInteger:
      item.integer = head[0];
      break;
    case kInteger:
      item.integer = static_cast<std::int32_t>(load_big_endian<std::uint32_t>(head));
      break;
    case kFloat:
      item.floating = std::bit_cast<double>(load_big_endian<std::uint64_t>(head));
      // Not isfinite(): must hold whatever the floating-point flags of the build.
      if ((std::bit_cast<std::uint64_t>(item.floating) >> 52 & 0x7FF) == 0x7FF)
        return Status::corrupt;
      break;
    case kAtomWord:
    case kPidWord:
      item.word = load<std::uint64_t>(head);
      break;
    case kHandle:
    case kPinned:
      item.kind = head[0];
      item.object = reinterpret_cast<Object*>(load<std::uint64_t>(head + 1));
      break;
    case kToken:
      item.kind = head[0];
      item.word = load<std::uint64_t>(head + 1);
      break;
    case kSmallTuple:
      elements = item.count = head[0];
      break;
    case kLargeTuple:
      elements = item.count = load_big_endian<std::uint32_t>(head);
      break;
    case kList:
      item.count = load_big_endian<std::uint32_t>(head);
      elements = std::uint64_t{item.count} + 1;  // The closing kNil.
      break;
    case kMap:
      item.count = load_big_endian<std::uint32_t>(head);
      elements = std::uint64_t{item.count} * 2;
      break;
    case kSmallAtom:
      trailing = head[0];
      break;
    case kAtom:
      trailing = load_big_endian<std::uint16_t>(head);
      break;
    case kSmallBig:
      trailing = head[0];
      item.kind = head[1];
      break;
    case kLargeBig:
      trailing = load_big_endian<std::uint32_t>(head);
      item.kind = head[4];
      break;
    case kOpaque:
      item.kind = head[0];
      trailing = load_big_endian<std::uint32_t>(head + 1);
      break;
    case kBinary:
    case kBytes:
    case kBytesTuple:
      trailing = load_big_endian<std::uint32_t>(head);
      break;
  }
  const auto left = static_cast<std::uint64_t>(end_ - at_);
  if (trailing > left) return Status::corrupt;
  if (owed_ == 0) owed_ = 1;  // Another term.
  owed_ = owed_ - 1 + elements;
  if (owed_ > left - trailing && !partial_) return Status::corrupt;
  item.bytes = {at_, static_cast<std::size_t>(trailing)};
  at_ += trailing;
  return Status::ok;
}

}  // namespace penstock::wire
