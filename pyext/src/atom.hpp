// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "module_state.hpp"
#include "penstock/wire.hpp"

namespace penstock::python {

/// erlang.Atom: what Python sends as an atom. Immutable.
struct AtomObject {
  PyObject_HEAD PyObject* name;  ///< str.
  /// kAtomWord; outside a VM kAtom, by name. `true`, `false` and `none` have the tags that True,
  /// False and None have, and `nan` and its like go by name as a float's do: one term, one wire
  /// form, so equal map keys can be told by their bytes.
  wire::Tag tag;
  std::uint64_t word;
};

/// The atom called `name`, a str: a new reference, or nullptr and TypeError, ValueError (too long,
/// not encodable) or RuntimeError (too many) is set.
[[nodiscard]] PyObject* atom_of(ModuleState& state, PyObject* name);

[[nodiscard]] bool append_atom(wire::Writer& writer, PyObject* atom) noexcept;

[[nodiscard]] inline bool is_atom(const ModuleState& state, PyObject* object) noexcept {
  return Py_IS_TYPE(object, state.atom_type);
}

/// UTF-8 of an atom's name; lives as long as the atom. Data nullptr: a Python exception is set.
[[nodiscard]] std::string_view atom_name(PyObject* atom);

[[nodiscard]] bool add_atom_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
