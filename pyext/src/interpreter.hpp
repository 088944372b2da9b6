// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "penstock/python/runtime.hpp"

namespace penstock::python {

struct ModuleState;

/// Starts the interpreter on this thread, which becomes its main thread, and imports `erlang`.
/// Returns what failed, or "" and the GIL is held.
[[nodiscard]] std::string start_interpreter(const RuntimeConfig& config, ModuleState*& state);

}  // namespace penstock::python
