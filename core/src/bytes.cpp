// SPDX-License-Identifier: Apache-2.0
#include "penstock/bytes.hpp"

#include <cassert>
#include <cstring>

namespace penstock::bytes {

bool copy_into(Message& message, std::span<const std::uint8_t> bytes) noexcept {
  std::uint8_t* const room = message.extend(bytes.size());
  if (room == nullptr) return false;
  if (!bytes.empty()) std::memcpy(room, bytes.data(), bytes.size());
  return true;
}

bool refer_to(Message& message, Ref<wire::PinnedBytes> pinned) noexcept {
  assert(pinned->bytes().size() >= kReferThreshold);
  return wire::Writer(message).pinned(wire::PinnedAs::bytes, std::move(pinned));
}

View view(const Message& message) noexcept {
  if (!message.owns_objects()) return {message.bytes(), nullptr};
  wire::Item item{};
  const Status status = wire::Reader(message.bytes()).next(item);
  assert(status == Status::ok && item.tag == wire::kPinned);
  (void)status;
  auto* const pinned = static_cast<wire::PinnedBytes*>(item.object);
  return {pinned->bytes(), pinned};
}

}  // namespace penstock::bytes
