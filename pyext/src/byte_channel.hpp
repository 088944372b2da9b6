// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"

namespace penstock::python {

/// erlang.ByteChannel: a channel of raw bytes.
[[nodiscard]] bool add_byte_channel_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
