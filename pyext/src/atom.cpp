// SPDX-License-Identifier: Apache-2.0
#include "atom.hpp"

#include <cstring>
#include <string_view>

#include "penstock/host.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

constexpr Py_ssize_t kMaxCharacters = 255;
/// Atoms remembered by name. In a VM its own limit comes first; this one is for programs without.
constexpr Py_ssize_t kMaxCached = 20'000;

AtomObject* as_atom(PyObject* object) noexcept { return reinterpret_cast<AtomObject*>(object); }

void atom_dealloc(PyObject* self) {
  drop(as_atom(self)->name);
  free_instance(self);
}

PyObject* atom_str(PyObject* self) { return PyRef::borrow(as_atom(self)->name).take(); }

PyObject* atom_repr(PyObject* self) {
  return PyUnicode_FromFormat("erlang.atom(%R)", as_atom(self)->name);
}

Py_hash_t atom_hash(PyObject* self) { return PyObject_Hash(as_atom(self)->name); }

PyObject* atom_compare(PyObject* self, PyObject* other, int operation) {
  if (!Py_IS_TYPE(other, Py_TYPE(self))) Py_RETURN_NOTIMPLEMENTED;
  return PyObject_RichCompare(as_atom(self)->name, as_atom(other)->name, operation);
}

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(atom_dealloc)},
    {Py_tp_str, reinterpret_cast<void*>(atom_str)},
    {Py_tp_repr, reinterpret_cast<void*>(atom_repr)},
    {Py_tp_hash, reinterpret_cast<void*>(atom_hash)},
    {Py_tp_richcompare, reinterpret_cast<void*>(atom_compare)},
    {Py_tp_doc, const_cast<char*>("An Erlang atom; made by erlang.atom(name).")},
    {0, nullptr},
};

PyType_Spec spec = {
    "erlang.Atom", sizeof(AtomObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};

/// How the atom is sent; its word where that takes one. False: a Python exception is set.
bool resolve(std::string_view name, wire::Tag& tag, std::uint64_t& word) {
  tag = wire::kAtom;
  if (name == "true") tag = wire::kTrue;
  if (name == "false") tag = wire::kFalse;
  if (name == "none") tag = wire::kNone;
  if (tag != wire::kAtom || name == "nan" || name == "infinity" || name == "neg_infinity") {
    return true;
  }
  Host* const erlang = host();
  if (erlang == nullptr) return true;
  switch (erlang->atom(name, word)) {
    case Status::ok:
      tag = wire::kAtomWord;
      return true;
    case Status::limit:
      PyErr_SetString(PyExc_RuntimeError, "too many atoms were made from Python");
      return false;
    case Status::out_of_memory:
      PyErr_NoMemory();
      return false;
    default:
      PyErr_SetString(PyExc_ValueError, "not an atom's name");
      return false;
  }
}

PyObject* new_atom(ModuleState& state, PyObject* name) {
  if (PyUnicode_GET_LENGTH(name) > kMaxCharacters) {
    PyErr_SetString(PyExc_ValueError, "an atom has at most 255 characters");
    return nullptr;
  }
  Py_ssize_t size = 0;
  const char* const utf8 = PyUnicode_AsUTF8AndSize(name, &size);
  if (utf8 == nullptr) return nullptr;  // Lone surrogates: UnicodeEncodeError, a ValueError.
  if (std::memchr(utf8, 0, static_cast<std::size_t>(size)) != nullptr) {
    PyErr_SetString(PyExc_ValueError, "an atom's name holds no null character");
    return nullptr;
  }
  wire::Tag tag = wire::kAtom;
  std::uint64_t word = 0;
  if (!resolve({utf8, static_cast<std::size_t>(size)}, tag, word)) return nullptr;
  AtomObject* const self = PyObject_New(AtomObject, state.atom_type);
  if (self == nullptr) return nullptr;
  self->name = PyRef::borrow(name).take();
  self->tag = tag;
  self->word = word;
  return reinterpret_cast<PyObject*>(self);
}

}  // namespace

PyObject* atom_of(ModuleState& state, PyObject* name) {
  if (!PyUnicode_Check(name)) {
    PyErr_Format(PyExc_TypeError, "an atom's name must be str, not '%.200s'",
                 Py_TYPE(name)->tp_name);
    return nullptr;
  }
  // Exactly str from here on: a subclass could compare as it likes.
  const PyRef exact =
      PyUnicode_CheckExact(name) ? PyRef::borrow(name) : PyRef::steal(PyUnicode_FromObject(name));
  if (!exact) return nullptr;
  if (PyObject* const known = PyDict_GetItemWithError(state.atoms, exact.get())) {
    return PyRef::borrow(known).take();
  }
  if (PyErr_Occurred() != nullptr) return nullptr;
  PyRef atom = PyRef::steal(new_atom(state, exact.get()));
  if (!atom) return nullptr;
  if (PyDict_GET_SIZE(state.atoms) < kMaxCached &&
      PyDict_SetItem(state.atoms, exact.get(), atom.get()) != 0) {
    return nullptr;
  }
  return atom.take();
}

std::string_view atom_name(PyObject* atom) {
  Py_ssize_t size = 0;
  const char* const utf8 = PyUnicode_AsUTF8AndSize(as_atom(atom)->name, &size);
  return {utf8, static_cast<std::size_t>(size)};
}

bool append_atom(wire::Writer& writer, PyObject* atom) noexcept {
  const AtomObject& self = *as_atom(atom);
  if (self.tag == wire::kAtomWord) return writer.atom_word(self.word);
  if (self.tag == wire::kAtom) return writer.atom(atom_name(atom));  // Made before: cannot fail.
  return writer.tag(self.tag);
}

bool add_atom_type(PyObject* module, ModuleState& state) {
  state.atoms = PyDict_New();
  return state.atoms != nullptr && add_type(module, spec, state.atom_type);
}

}  // namespace penstock::python
