// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"
#include "penstock/channel.hpp"

namespace penstock::python {

/// A capsule that owns a reference to a channel: what an Erlang channel reads as in Python.
[[nodiscard]] PyObject* new_channel_capsule(Ref<Channel> channel);

/// The channel, of either kind, of a capsule or of an erlang.Channel or ByteChannel; nullptr,
/// without an exception: it is neither.
[[nodiscard]] Channel* channel_of(const ModuleState& state, PyObject* object) noexcept;

}  // namespace penstock::python
