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

[[nodiscard]] bool add_channel_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
