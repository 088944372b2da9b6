// SPDX-License-Identifier: Apache-2.0
#include "shared_context.hpp"

#include <utility>

namespace penstock::python {

namespace {

/// Up to the first field of interest that of Include/internal/pycore_context.h.
struct ContextLayout {
  PyObject_HEAD PyObject* previous;
  PyObject* variables;
};

const PyObject* variables_of(PyObject* context) noexcept {
  return reinterpret_cast<const ContextLayout*>(context)->variables;
}

}  // namespace

bool SharedContext::is_possible() {
#if PY_VERSION_HEX >= 0x030E0000
  return false;
#else
  const PyRef one = PyRef::steal(PyContext_New());
  const PyRef variable = PyRef::steal(PyContextVar_New("probe", nullptr));
  if (!one || !variable || PyContext_Enter(one.get()) != 0) {
    PyErr_Clear();
    return false;
  }
  const PyRef token = PyRef::steal(PyContextVar_Set(variable.get(), Py_None));
  const PyRef equal = PyRef::steal(PyContext_CopyCurrent());
  const PyObject* const before = variables_of(one.get());
  const PyRef changed = PyRef::steal(PyContextVar_Set(variable.get(), Py_True));
  const bool has_left = PyContext_Exit(one.get()) == 0;
  PyErr_Clear();
  return has_left && equal && changed && before != nullptr && variables_of(equal.get()) == before &&
         variables_of(one.get()) != before;
#endif
}

PyRef SharedContext::current() {
  PyObject* const now = PyThreadState_Get()->context;
  if (!copy_ || now == nullptr || variables_of(copy_.get()) != variables_of(now)) {
    PyRef copy = PyRef::steal(PyContext_CopyCurrent());
    if (!copy) return {};
    copy_ = std::move(copy);
  }
  return PyRef::borrow(copy_.get());
}

}  // namespace penstock::python
