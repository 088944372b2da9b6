// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

namespace penstock::python {

/// What an instance of a Python class has in its dictionary, for classes that are known to keep the
/// attributes in question there and nowhere else: half the time of PyObject_GetAttr().
///
/// Threads: with the GIL.
class Attributes {
 public:
  explicit Attributes(PyObject* object)
      : dict_(PyRef::steal(PyObject_GenericGetDict(object, nullptr))) {}

  /// Empty: an exception is set.
  [[nodiscard]] PyRef get(PyObject* name) const {
    if (!dict_) return {};
    PyObject* const value = PyDict_GetItemWithError(dict_.get(), name);
    if (value == nullptr && PyErr_Occurred() == nullptr)
      PyErr_SetObject(PyExc_AttributeError, name);
    return PyRef::borrow(value);
  }

  /// False: an exception is set.
  [[nodiscard]] bool set(PyObject* name, PyObject* value) const {
    return dict_ && PyDict_SetItem(dict_.get(), name, value) == 0;
  }

  /// 1, 0, or -1: an exception is set.
  [[nodiscard]] int is_true(PyObject* name) const {
    const PyRef value = get(name);
    return value ? PyObject_IsTrue(value.get()) : -1;
  }

 private:
  PyRef dict_;
};

}  // namespace penstock::python
