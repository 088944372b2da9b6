// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "penstock/python/runtime.hpp"
#include "ref.hpp"

namespace penstock::python {

struct ModuleState;

/// Puts a directory before all others in sys.path. False: an exception is set.
[[nodiscard]] bool prepend_path(const std::string& directory);
/// What failed, or "".
[[nodiscard]] std::string text_of(const PyStatus& status);

/// Starts the interpreter on this thread, which becomes its main thread, and imports `erlang`.
/// Returns what failed, or "" and the GIL is held.
[[nodiscard]] std::string start_interpreter(const RuntimeConfig& config, ModuleState*& state);

}  // namespace penstock::python
