// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

namespace penstock::python {

/// Makes a type of `spec`, keeps it in `slot` for good, and puts it into the module under its last
/// name. False: a Python exception is set.
[[nodiscard]] inline bool add_type(PyObject* module, PyType_Spec& spec, PyTypeObject*& slot) {
  slot = reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return slot != nullptr && PyModule_AddType(module, slot) == 0;
}

/// Same, for types that have no name in the module.
[[nodiscard]] inline bool make_type(PyObject* module, PyType_Spec& spec, PyTypeObject*& slot) {
  slot = reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return slot != nullptr;
}

/// Gives an instance of a heap type back: its memory and its reference to the type.
inline void free_instance(PyObject* self) {
  const PyRef type = PyRef::steal(reinterpret_cast<PyObject*>(Py_TYPE(self)));
  Py_TYPE(self)->tp_free(self);
}

/// tp_dealloc of instances that own nothing else.
inline void free_plain_object(PyObject* self) { free_instance(self); }

}  // namespace penstock::python
