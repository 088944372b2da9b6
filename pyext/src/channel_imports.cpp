// SPDX-License-Identifier: Apache-2.0
#include "channel_imports.hpp"

#include <sys/socket.h>

#include <new>
#include <system_error>
#include <utility>

#include "penstock/wire.hpp"

namespace penstock::python {

Status ChannelImports::channel_of(std::uint64_t number, Ref<Channel>* channel) noexcept {
  Ref<Channel> found;  // One that goes again goes without the lock.
  std::unique_lock lock(mutex_);
  try {
    for (;;) {
      Import* const import = find_or_receive(number);
      if (import == nullptr || !import->memory) return Status::corrupt;
      if (import->channel == nullptr) {
        found = attach(number, *import);
        break;
      }
      if (import->channel->try_retain()) {
        found = Ref<Channel>::steal(import->channel);
        break;
      }
      has_gone_.wait(lock);  // Its destructor runs, and takes back what it told other processes.
    }
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
  *channel = std::move(found);
  return Status::ok;
}

void ChannelImports::came(const Message& message) noexcept {
  if (!message.owns_objects()) return;
  wire::Reader reader(message.bytes());
  wire::Item item{};
  const std::lock_guard lock(mutex_);
  while (!reader.at_end() && reader.next(item) == Status::ok) {
    if (item.tag != wire::kHandle ||
        item.kind != static_cast<std::uint8_t>(wire::HandleKind::channel)) {
      continue;
    }
    const auto known = numbers_.find(static_cast<const Channel*>(item.object));
    if (known != numbers_.end()) ++imports_.at(known->second).copies;
  }
}

/// One whose descriptor or memory did not come is remembered as such.
bool ChannelImports::receive_one(int flags) {
  PassedChannel passed{};
  int received = -1;
  const ssize_t size =
      receive_descriptors(passing_.get(), {reinterpret_cast<std::uint8_t*>(&passed), sizeof passed},
                          {&received, 1}, flags);
  Descriptor descriptor(received);
  if (size != sizeof passed) return false;
  Import import;
  import.shape = passed.shape;
  try {
    if (descriptor.get() >= 0) import.memory = SharedQueue::map(descriptor.take(), passed.shape);
  } catch (const std::system_error&) {
    import.memory = {};
  }
  imports_.emplace(passed.number, std::move(import));
  return true;
}

/// The VM sends what belongs to a number before the message that names it.
ChannelImports::Import* ChannelImports::find_or_receive(std::uint64_t number) {
  for (;;) {
    const auto found = imports_.find(number);
    if (found != imports_.end()) return &found->second;
    if (!domain_ || !receive_one(0)) return nullptr;
  }
}

Ref<Channel> ChannelImports::attach(std::uint64_t number, Import& import) {
  numbers_.reserve(numbers_.size() + 1);
  Ref<Channel> channel = SharedQueue::attach(
      domain_, porter_, import.memory, import.shape,
      [this, number](const Channel& channel_gone) { gone(number, channel_gone); });
  import.channel = channel.get();
  numbers_.emplace(channel.get(), number);
  return channel;
}

void ChannelImports::gone(std::uint64_t number, const Channel& channel) noexcept {
  std::uint32_t copies = 0;
  {
    const std::lock_guard lock(mutex_);
    numbers_.erase(&channel);
    Import& import = imports_.at(number);  // The VM has not got all copies back.
    import.channel = nullptr;
    copies = std::exchange(import.copies, 0);
  }
  has_gone_.notify_all();
  if (copies != 0) give_back_(number, copies);
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
  try {
    // It may have come for a message that was never sent.
    while (!imports_.contains(number) && receive_one(MSG_DONTWAIT)) {
    }
  } catch (const std::bad_alloc&) {
    return;
  }
  const auto found = imports_.find(number);
  if (found == imports_.end()) return;
  last = std::move(found->second);
  imports_.erase(found);
}

}  // namespace penstock::python
