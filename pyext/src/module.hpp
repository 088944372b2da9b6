// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"

namespace penstock::python {

/// Puts `erlang._native` into sys.modules, made of this very code instead of a file, and imports
/// the package `erlang`. Call once, before anything else imports it. The state, or nullptr and an
/// exception is set.
[[nodiscard]] ModuleState* import_embedded();

}  // namespace penstock::python
