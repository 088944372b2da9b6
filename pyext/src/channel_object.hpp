// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"

namespace penstock::python {

/// erlang.Channel: a channel of terms.
[[nodiscard]] bool add_channel_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
