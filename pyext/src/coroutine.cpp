// SPDX-License-Identifier: Apache-2.0
#include "coroutine.hpp"

#include <cstring>

namespace penstock::python {

PyObject* stop_with(PySendResult outcome, PyObject* result) {
  if (outcome != PYGEN_RETURN) return result;
  const PyRef value = PyRef::steal(result);
  // Made by hand, because a tuple as exception value would become its arguments.
  const PyRef stop = PyRef::steal(PyObject_CallOneArg(PyExc_StopIteration, value.get()));
  if (stop) PyErr_SetObject(PyExc_StopIteration, stop.get());
  return nullptr;
}

void refuse_stop_iteration() {
  if (PyErr_ExceptionMatches(PyExc_StopIteration) == 0) return;
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  const PyRef stop = PyRef::steal(value);
  drop(type);
  drop(traceback);
  PyErr_SetString(PyExc_RuntimeError, "coroutine raised StopIteration");
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  PyException_SetCause(value, PyRef::borrow(stop.get()).take());
  PyException_SetContext(value, PyRef::borrow(stop.get()).take());
  PyErr_Restore(type, value, traceback);
}

const char* method_of(const char* qualified_name) noexcept {
  const char* const dot = std::strchr(qualified_name, '.');
  return dot == nullptr ? qualified_name : dot + 1;
}

bool Thrown::parse(PyObject* args) {
  if (PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &traceback) == 0) return false;
  if (PyExceptionInstance_Check(type)) {
    value = type;
    type = reinterpret_cast<PyObject*>(Py_TYPE(value));
  } else if (!PyExceptionClass_Check(type)) {
    PyErr_SetString(PyExc_TypeError, "throw() takes an exception");
    return false;
  }
  return true;
}

void Thrown::raise() const {
  if (value != nullptr && traceback != nullptr && PyExceptionInstance_Check(value) &&
      PyTraceBack_Check(traceback)) {
    PyException_SetTraceback(value, traceback);
  }
  PyErr_SetObject(type, value);
}

}  // namespace penstock::python
