// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"
#include "penstock/channel.hpp"

namespace penstock::python {

/// erlang.Channel. Owns a reference to the channel, or none if it was made of something else.
struct ChannelObject {
  PyObject_HEAD ModuleState* state;
  Channel* channel;
  PyObject* weak_references;
  bool has_sent;  ///< Was counted as a sender: for good, since Python may send again.
};

[[nodiscard]] inline ChannelObject& as_channel(PyObject* object) noexcept {
  return *reinterpret_cast<ChannelObject*>(object);
}

/// True, or TypeError is set.
[[nodiscard]] bool require_channel(const ChannelObject& self);

/// What a receive that ended with `status` returns: the message, or nullptr and an exception
/// (ChannelClosed, MemoryError, what decoding raised). Not for Status::empty.
[[nodiscard]] PyObject* received(ModuleState& state, Status status, const Message& message);

/// Takes the oldest message, or blocks for it until `deadline_ns`. False: an exception is set.
[[nodiscard]] bool receive_blocking(ModuleState& state, Channel& channel, Message& message,
                                    std::int64_t deadline_ns, Status& status);

[[nodiscard]] bool add_channel_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
