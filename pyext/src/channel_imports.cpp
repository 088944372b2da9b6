// SPDX-License-Identifier: Apache-2.0
#include "channel_imports.hpp"

#include <sys/socket.h>

#include <new>
#include <system_error>
#include <utility>

#include "penstock/shared_queue.hpp"
#include "penstock/shared_stream.hpp"

namespace penstock::python {

namespace {

[[nodiscard]] bool is_of(wire::HandleKind kind, const SharedShape& shape) noexcept {
  return (kind == wire::HandleKind::stream) == (shape.content == SharedShape::kStream);
}

[[nodiscard]] std::shared_ptr<const Segment> map(int descriptor, const SharedShape& shape) {
  return shape.content == SharedShape::kStream ? SharedStream::map(descriptor, shape)
                                               : SharedQueue::map(descriptor, shape);
}

}  // namespace

Status ChannelImports::object_of(wire::HandleKind kind, std::uint64_t number,
                                 Ref<Object>* object) noexcept {
  Ref<Shareable> found;  // One that goes again goes without the lock.
  std::unique_lock lock(mutex_);
  try {
    for (;;) {
      Import* const import = find_or_receive(number);
      if (import == nullptr || !import->memory || !is_of(kind, import->shape)) {
        return Status::corrupt;
      }
      if (import->object == nullptr) {
        found = attach(number, *import);
        break;
      }
      if (import->object->try_retain()) {
        found = Ref<Shareable>::steal(import->object);
        break;
      }
      has_gone_.wait(lock);  // Its destructor runs, and takes back what it told other processes.
    }
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
  *object = Ref<Object>::steal(found.take());
  return Status::ok;
}

void ChannelImports::came(const Message& message) noexcept {
  if (!message.owns_objects()) return;
  wire::Reader reader(message.bytes());
  wire::Item item{};
  const std::lock_guard lock(mutex_);
  while (!reader.at_end() && reader.next(item) == Status::ok) {
    if (item.tag != wire::kHandle) continue;
    const auto kind = static_cast<wire::HandleKind>(item.kind);
    if (kind != wire::HandleKind::channel && kind != wire::HandleKind::stream) continue;
    const auto known = numbers_.find(static_cast<const Shareable*>(item.object));
    if (known != numbers_.end()) ++imports_.at(known->second).copies;
  }
}

/// One whose descriptor or memory did not come is remembered as such.
bool ChannelImports::receive_one(int flags) {
  PassedObject passed{};
  int received = -1;
  const ssize_t size =
      receive_descriptors(passing_.get(), {reinterpret_cast<std::uint8_t*>(&passed), sizeof passed},
                          {&received, 1}, flags);
  Descriptor descriptor(received);
  if (size != sizeof passed) return false;
  Import import;
  import.shape = passed.shape;
  try {
    if (descriptor.get() >= 0) import.memory = map(descriptor.take(), passed.shape);
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

Ref<Shareable> ChannelImports::attach(std::uint64_t number, Import& import) {
  numbers_.reserve(numbers_.size() + 1);
  const auto on_gone = [this, number](const Shareable& object) { gone(number, object); };
  Ref<Shareable> object;
  if (import.shape.content == SharedShape::kStream) {
    object = Ref<Shareable>::steal(
        SharedStream::attach(domain_, porter_, import.memory, import.shape, on_gone).take());
  } else {
    object = Ref<Shareable>::steal(
        SharedQueue::attach(domain_, porter_, import.memory, import.shape, on_gone).take());
  }
  import.object = object.get();
  numbers_.emplace(object.get(), number);
  return object;
}

void ChannelImports::gone(std::uint64_t number, const Shareable& object) noexcept {
  std::uint32_t copies = 0;
  {
    const std::lock_guard lock(mutex_);
    numbers_.erase(&object);
    Import& import = imports_.at(number);  // The VM has not got all copies back.
    import.object = nullptr;
    copies = std::exchange(import.copies, 0);
  }
  has_gone_.notify_all();
  if (copies != 0) give_back_(number, copies);
}

Status ChannelImports::number_of(const Shareable& object, std::uint64_t* number) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = numbers_.find(&object);
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
