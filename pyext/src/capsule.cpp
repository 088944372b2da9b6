// SPDX-License-Identifier: Apache-2.0
#include "capsule.hpp"

#include "channel_object.hpp"

namespace penstock::python {

namespace {

constexpr const char* kName = "erlang.channel_ref";

void release_channel(PyObject* capsule) {
  static_cast<Channel*>(PyCapsule_GetPointer(capsule, kName))->release();
}

}  // namespace

PyObject* new_channel_capsule(Ref<Channel> channel) {
  PyObject* const capsule = PyCapsule_New(channel.get(), kName, release_channel);
  if (capsule != nullptr) (void)channel.take();
  return capsule;
}

Channel* channel_of(const ModuleState& state, PyObject* object) noexcept {
  if (PyCapsule_IsValid(object, kName) != 0) {
    return static_cast<Channel*>(PyCapsule_GetPointer(object, kName));
  }
  if (PyObject_TypeCheck(object, state.channel_type) != 0) {
    return reinterpret_cast<ChannelObject*>(object)->channel;
  }
  return nullptr;
}

}  // namespace penstock::python
