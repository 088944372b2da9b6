// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "module_state.hpp"
#include "penstock/wire.hpp"

namespace penstock::python {

/// Pid, Ref, Port, Fun: an Erlang term that Python can keep, compare and send back, but not look
/// into. Holds its wire form (kPidWord or kOpaque), so sending it is a copy. Immutable.
struct OpaqueObject {
  PyObject_VAR_HEAD Py_hash_t hash;
  std::uint8_t wire[1];  // As many as the object's size says.
};

/// A new object; nullptr: MemoryError is set. `wire` is a whole term in one of the two forms.
[[nodiscard]] PyObject* new_opaque(ModuleState& state, wire::OpaqueKind kind,
                                   std::span<const std::uint8_t> wire);

/// The pid with this word, perhaps one that was made before.
[[nodiscard]] PyObject* pid_of_word(ModuleState& state, std::uint64_t word);

[[nodiscard]] bool is_opaque(const ModuleState& state, PyObject* object) noexcept;
[[nodiscard]] inline bool is_pid(const ModuleState& state, PyObject* object) noexcept {
  return Py_IS_TYPE(object, state.opaque_types[0]);
}
/// The wire form of an opaque object; lives as long as the object.
[[nodiscard]] std::span<const std::uint8_t> wire_of(PyObject* opaque) noexcept;

/// Makes the four types. False: a Python exception is set.
[[nodiscard]] bool add_opaque_types(PyObject* module, ModuleState& state);

}  // namespace penstock::python
