// SPDX-License-Identifier: Apache-2.0
#include "opaque.hpp"

#include <cstdio>
#include <cstring>
#include <string>

#include "types.hpp"

namespace penstock::python {

namespace {

OpaqueObject* as_opaque(PyObject* object) noexcept {
  return reinterpret_cast<OpaqueObject*>(object);
}

/// Of one that is kPidWord.
std::uint64_t word_of(PyObject* object) noexcept {
  std::uint64_t word;
  std::memcpy(&word, as_opaque(object)->wire + 1, sizeof word);
  return word;
}

Py_hash_t opaque_hash(PyObject* self) { return as_opaque(self)->hash; }

PyObject* opaque_compare(PyObject* self, PyObject* other, int operation) {
  if (!Py_IS_TYPE(other, Py_TYPE(self)) || (operation != Py_EQ && operation != Py_NE)) {
    Py_RETURN_NOTIMPLEMENTED;
  }
  const auto left = wire_of(self);
  const auto right = wire_of(other);
  const bool equal =
      left.size() == right.size() && std::memcmp(left.data(), right.data(), left.size()) == 0;
  return PyBool_FromLong(equal == (operation == Py_EQ));
}

/// <erlang.Pid 0x2a3>, or the first bytes of the external form.
PyObject* opaque_repr(PyObject* self) {
  const auto wire = wire_of(self);
  constexpr std::size_t kShown = 24;
  std::string text;
  char digits[19];
  if (wire[0] == wire::kPidWord) {
    std::snprintf(digits, sizeof digits, "0x%lx", static_cast<unsigned long>(word_of(self)));
    text = digits;
  } else {
    const auto external = wire.subspan(6);  // After tag, kind and size.
    for (std::size_t i = 0; i < external.size() && i < kShown; ++i) {
      std::snprintf(digits, sizeof digits, "%02x", external[i]);
      text += digits;
    }
    if (external.size() > kShown) text += "...";
  }
  return PyUnicode_FromFormat("<%s %s>", Py_TYPE(self)->tp_name, text.c_str());
}

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(free_plain_object)},
    {Py_tp_hash, reinterpret_cast<void*>(opaque_hash)},
    {Py_tp_richcompare, reinterpret_cast<void*>(opaque_compare)},
    {Py_tp_repr, reinterpret_cast<void*>(opaque_repr)},
    {Py_tp_doc, const_cast<char*>("An Erlang term that can be kept, compared and sent back.")},
    {0, nullptr},
};

PyType_Spec spec_named(const char* name) {
  return {name, offsetof(OpaqueObject, wire), 1,
          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};
}

}  // namespace

std::span<const std::uint8_t> wire_of(PyObject* opaque) noexcept {
  return {as_opaque(opaque)->wire, static_cast<std::size_t>(Py_SIZE(opaque))};
}

bool is_opaque(const ModuleState& state, PyObject* object) noexcept {
  for (PyTypeObject* const type : state.opaque_types) {
    if (Py_IS_TYPE(object, type)) return true;
  }
  return false;
}

PyObject* new_opaque(ModuleState& state, wire::OpaqueKind kind,
                     std::span<const std::uint8_t> wire) {
  PyTypeObject* const type = state.opaque_types[static_cast<std::size_t>(kind)];
  OpaqueObject* const self =
      PyObject_NewVar(OpaqueObject, type, static_cast<Py_ssize_t>(wire.size()));
  if (self == nullptr) return nullptr;
  std::memcpy(self->wire, wire.data(), wire.size());
  std::uint64_t hash = 0xCBF29CE484222325;  // FNV-1a: short keys, no attacker.
  for (std::uint8_t const byte : wire) hash = (hash ^ byte) * 0x100000001B3;
  self->hash = static_cast<Py_hash_t>(hash ^ hash >> 32);
  if (self->hash == -1) self->hash = -2;  // -1 means an error to Python.
  return reinterpret_cast<PyObject*>(self);
}

PyObject* pid_of_word(ModuleState& state, std::uint64_t word) {
  PyObject*& recent = state.recent_pids[(word >> 4) % state.recent_pids.size()];
  if (recent != nullptr && word_of(recent) == word) return PyRef::borrow(recent).take();
  std::uint8_t wire[1 + sizeof word] = {wire::kPidWord};
  std::memcpy(wire + 1, &word, sizeof word);
  PyRef pid = PyRef::steal(new_opaque(state, wire::OpaqueKind::pid, wire));
  if (pid) drop(std::exchange(recent, PyRef::borrow(pid.get()).take()));
  return pid.take();
}

bool add_opaque_types(PyObject* module, ModuleState& state) {
  constexpr const char* kNames[] = {"erlang.Pid", "erlang.Ref", "erlang.Port", "erlang.Fun"};
  for (std::size_t kind = 0; kind < state.opaque_types.size(); ++kind) {
    PyType_Spec spec = spec_named(kNames[kind]);
    if (!add_type(module, spec, state.opaque_types[kind])) return false;
  }
  return true;
}

}  // namespace penstock::python
