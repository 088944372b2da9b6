// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "ref.hpp"

namespace penstock::python {

/// Modules that were imported, and so are known to be complete: whether one in sys.modules is still
/// being imported takes longer to find out than all else about it.
///
/// A module that is not in sys.modules any more, or another one by now, is imported again.
///
/// Threads: one, with the GIL.
class ModuleCache {
 public:
  /// `name` imported. Empty: an exception is set.
  [[nodiscard]] PyRef import(PyObject* name) {
    Entry& entry = entries_[(reinterpret_cast<std::uintptr_t>(name) >> 4) % entries_.size()];
    if (entry.name.get() == name) {
      PyRef module = PyRef::steal(PyImport_GetModule(name));
      if (module && module.get() == entry.module.get()) return module;
      PyErr_Clear();
    }
    PyRef module = import_anew(name);
    if (module) entry = {PyRef::borrow(name), PyRef::borrow(module.get())};
    return module;
  }

 private:
  struct Entry {
    PyRef name;
    PyRef module;
  };
  [[nodiscard]] static PyRef import_anew(PyObject* name) {
    PyRef top = PyRef::steal(PyImport_ImportModuleLevelObject(name, nullptr, nullptr, nullptr, 0));
    if (!top || PyUnicode_FindChar(name, '.', 0, PyUnicode_GET_LENGTH(name), 1) < 0) return top;
    // Of 'a.b' that is a; b was imported, too.
    PyRef module = PyRef::steal(PyImport_GetModule(name));
    if (!module && PyErr_Occurred() == nullptr) {
      PyErr_Format(PyExc_ModuleNotFoundError, "No module named %R", name);
    }
    return module;
  }

  std::array<Entry, 16> entries_;
};

}  // namespace penstock::python
