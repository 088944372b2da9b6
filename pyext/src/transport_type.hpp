// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"

namespace penstock::python {

/// Makes the types of transports, which needs asyncio. False: an exception is set.
[[nodiscard]] bool make_transport_types(PyObject* module, ModuleState& state);

}  // namespace penstock::python
