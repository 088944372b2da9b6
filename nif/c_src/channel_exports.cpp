// SPDX-License-Identifier: Apache-2.0
#include "channel_exports.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <new>

namespace penstock::nif {

Status ChannelExports::number_of(Shareable& object, std::uint64_t* number) noexcept {
  const SharedMemory* const memory = object.shared_memory();
  if (memory == nullptr || socket_.get() < 0) return Status::not_shared;
  const std::lock_guard lock(mutex_);
  try {
    if (const auto known = numbers_.find(&object); known != numbers_.end()) {
      ++exports_.at(known->second).copies;
      *number = known->second;
      return Status::ok;
    }
    std::uint64_t const next = last_number_ + 1;
    numbers_.emplace(&object, next);
    const auto added = exports_.emplace(next, Export{Ref<Shareable>::borrow(&object), 1}).first;
    const PassedObject passed{next, memory->shape()};
    const int descriptor = memory->descriptor();
    // Before the message that names it.
    const int error =
        send_descriptors(socket_.get(), passed.bytes(), {&descriptor, 1}, MSG_DONTWAIT);
    if (error != 0) {
      exports_.erase(added);
      numbers_.erase(&object);
      const bool is_gone = error == EPIPE || error == ECONNRESET;
      return is_gone ? Status::closed : Status::out_of_memory;
    }
    *number = last_number_ = next;
    return Status::ok;
  } catch (const std::bad_alloc&) {
    numbers_.erase(&object);
    return Status::out_of_memory;
  }
}

Ref<Object> ChannelExports::object_of(wire::HandleKind kind, std::uint64_t number) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = exports_.find(number);
  if (found == exports_.end()) return {};
  Shareable* const object = found->second.object.get();
  const bool is_stream = object->shared_memory()->shape().content == SharedShape::kStream;
  if (is_stream != (kind == wire::HandleKind::stream)) return {};
  return Ref<Object>::borrow(object);
}

bool ChannelExports::give_back(std::uint64_t number, std::uint32_t copies) noexcept {
  Ref<Shareable> last;  // Goes without the lock.
  const std::lock_guard lock(mutex_);
  const auto found = exports_.find(number);
  if (found == exports_.end()) return false;
  if (found->second.copies > copies) {
    found->second.copies -= copies;
    return false;
  }
  last = std::move(found->second.object);
  numbers_.erase(last.get());
  exports_.erase(found);
  return true;
}

void ChannelExports::clear() noexcept {
  std::unordered_map<std::uint64_t, Export> last;  // Go without the lock.
  const std::lock_guard lock(mutex_);
  last.swap(exports_);
  numbers_.clear();
}

}  // namespace penstock::nif
