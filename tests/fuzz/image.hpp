// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"

namespace penstock::fuzz {

/// Whether `to` is what `from` reads as when it went to Erlang and came back (docs/types.md): the
/// same, but with the plain type of each subclass; bytes for all that are bytes, and str where they
/// are UTF-8 in a key; str, True, False and None for atoms. What only `tolist` knows may be
/// anything.
[[nodiscard]] bool is_image(python::ModuleState& state, PyObject* from, PyObject* to,
                            bool in_key = false);

}  // namespace penstock::fuzz
