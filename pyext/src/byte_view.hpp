// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"
#include "penstock/channel.hpp"

namespace penstock::python {

/// erlang.ByteView of a message of `channel`: refers to a large binary, which then counts as pinned
/// in the channel until its last view goes, or owns a copy of small ones. nullptr: MemoryError is
/// set. Empties `message`.
[[nodiscard]] PyObject* new_byte_view(ModuleState& state, Channel& channel, Message& message);

[[nodiscard]] bool add_byte_view_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
