// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "channel_receiving.hpp"

namespace penstock::python {

/// What `iter(channel)` returns: receives until the channel is closed and drained.
[[nodiscard]] PyObject* new_iterator(ModuleState& state, PyObject* channel, Received received);

[[nodiscard]] bool add_iterator_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
