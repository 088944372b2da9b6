// SPDX-License-Identifier: Apache-2.0
#include "channel_exports.hpp"

#include <sys/socket.h>

#include <new>

#include "penstock/shared_queue.hpp"

namespace penstock::nif {

Status ChannelExports::number_of(Channel& channel, std::uint64_t* number) noexcept {
  if (channel.shared() == nullptr || socket_.get() < 0) return Status::not_shared;
  const std::lock_guard lock(mutex_);
  try {
    if (const auto known = numbers_.find(&channel); known != numbers_.end()) {
      ++exports_.at(known->second).copies;
      *number = known->second;
      return Status::ok;
    }
    std::uint64_t const next = last_number_ + 1;
    numbers_.emplace(&channel, next);
    const auto added = exports_.emplace(next, Export{Ref<Channel>::borrow(&channel), 1}).first;
    const auto& queue = static_cast<const SharedQueue&>(*channel.shared());
    const PassedChannel passed{next, queue.shape()};
    const int descriptor = queue.descriptor();
    // Before the message that names it.
    if (send_descriptors(socket_.get(), passed.bytes(), {&descriptor, 1}, MSG_DONTWAIT) != 0) {
      exports_.erase(added);
      numbers_.erase(&channel);
      return Status::out_of_memory;
    }
    *number = last_number_ = next;
    return Status::ok;
  } catch (const std::bad_alloc&) {
    numbers_.erase(&channel);
    return Status::out_of_memory;
  }
}

Ref<Channel> ChannelExports::channel_of(std::uint64_t number) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = exports_.find(number);
  return found != exports_.end() ? found->second.channel : Ref<Channel>();
}

bool ChannelExports::give_back(std::uint64_t number, std::uint32_t copies) noexcept {
  Ref<Channel> last;  // Goes without the lock.
  const std::lock_guard lock(mutex_);
  const auto found = exports_.find(number);
  if (found == exports_.end()) return false;
  if (found->second.copies > copies) {
    found->second.copies -= copies;
    return false;
  }
  last = std::move(found->second.channel);
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
