// SPDX-License-Identifier: Apache-2.0
#include "channel_imports.hpp"

#include <new>
#include <system_error>

namespace penstock::python {

Status ChannelImports::channel_of(std::uint64_t number, Ref<Channel>* channel) noexcept {
  Ref<Channel> found;  // One that goes again goes without the lock.
  const std::lock_guard lock(mutex_);
  try {
    Import* const import = find_or_receive(number);
    if (import == nullptr) return Status::corrupt;
    if (import->channel != nullptr && import->channel->try_retain()) {
      found = Ref<Channel>::steal(import->channel);
    } else {
      found = attach(number, *import);
    }
    ++import->copies;
  } catch (const std::system_error&) {
    return Status::out_of_memory;
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
  *channel = std::move(found);
  return Status::ok;
}

/// The VM sends what belongs to a number before the message that names it.
ChannelImports::Import* ChannelImports::find_or_receive(std::uint64_t number) {
  for (;;) {
    const auto found = imports_.find(number);
    if (found != imports_.end()) return &found->second;
    if (!domain_) return nullptr;
    PassedChannel passed{};
    int received = -1;
    const ssize_t size = receive_descriptors(
        passing_.get(), {reinterpret_cast<std::uint8_t*>(&passed), sizeof passed}, {&received, 1});
    Descriptor descriptor(received);
    if (size != sizeof passed || descriptor.get() < 0) return nullptr;
    Import import;
    import.shape = passed.shape;
    import.memory = SharedQueue::map(descriptor.take(), passed.shape);
    imports_.emplace(passed.number, std::move(import));
  }
}

Ref<Channel> ChannelImports::attach(std::uint64_t number, Import& import) {
  Ref<Channel> channel = SharedQueue::attach(
      domain_, porter_, import.memory, import.shape,
      [this, number](const Channel& channel_gone) { gone(number, channel_gone); });
  numbers_.emplace(channel.get(), number);
  import.channel = channel.get();
  return channel;
}

/// If another one has taken its place meanwhile, that one gives all copies back.
void ChannelImports::gone(std::uint64_t number, const Channel& channel) noexcept {
  std::uint32_t copies = 0;
  {
    const std::lock_guard lock(mutex_);
    numbers_.erase(&channel);
    const auto found = imports_.find(number);
    if (found == imports_.end() || found->second.channel != &channel) return;
    found->second.channel = nullptr;
    copies = std::exchange(found->second.copies, 0);
  }
  give_back_(number, copies);
}

Status ChannelImports::number_of(const Channel& channel, std::uint64_t* number) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = numbers_.find(&channel);
  if (found == numbers_.end()) return Status::not_shared;
  *number = found->second;
  return Status::ok;
}

void ChannelImports::forget(std::uint64_t number) noexcept {
  Import last;  // Goes without the lock.
  const std::lock_guard lock(mutex_);
  const auto found = imports_.find(number);
  if (found == imports_.end()) return;
  last = std::move(found->second);
  imports_.erase(found);
}

}  // namespace penstock::python
