// SPDX-License-Identifier: Apache-2.0
#include "capsule.hpp"

#include "channel_base.hpp"

namespace penstock::python {

namespace {

constexpr const char* kName = "erlang.channel_ref";
constexpr const char* kByteName = "erlang.byte_channel_ref";

void release_channel(PyObject* capsule) {
  static_cast<Channel*>(PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule)))->release();
}

}  // namespace

PyObject* new_channel_capsule(Ref<Channel> channel) {
  const bool is_bytes = channel->content() == Channel::Content::bytes;
  PyObject* const capsule =
      PyCapsule_New(channel.get(), is_bytes ? kByteName : kName, release_channel);
  if (capsule != nullptr) (void)channel.take();
  return capsule;
}

Channel* channel_of(const ModuleState& state, PyObject* object) noexcept {
  for (const char* const name : {kName, kByteName}) {
    if (PyCapsule_IsValid(object, name) != 0) {
      return static_cast<Channel*>(PyCapsule_GetPointer(object, name));
    }
  }
  return is_channel(state, object) ? as_channel(object).channel : nullptr;
}

}  // namespace penstock::python
