// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"
#include "penstock/wire.hpp"

namespace penstock::python {

/// What a message may hold: everything, or, from strangers, nothing that is an address.
enum class Trust : std::uint8_t { own, stranger };

/// The Python object of the next term of `reader`: a new reference, or nullptr and ValueError
/// (malformed, too deep, or a map of strangers that was made to take long), TypeError (a map key
/// that cannot be a dict key) or MemoryError is set. Runs no user code but what a garbage
/// collection may run.
[[nodiscard]] PyObject* decode(ModuleState& state, wire::Reader& reader, Trust trust = Trust::own);

/// Same for a message, which must hold one term and nothing behind it.
[[nodiscard]] PyObject* decode(ModuleState& state, const Message& message);

/// The Python object of an atom: True, False, None or a str.
[[nodiscard]] PyObject* atom_value(std::span<const std::uint8_t> utf8);

}  // namespace penstock::python
