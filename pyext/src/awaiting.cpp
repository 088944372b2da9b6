// SPDX-License-Identifier: Apache-2.0
#include "awaiting.hpp"

#include "exceptions.hpp"

namespace penstock::python {

namespace {

/// Of a function with @types.coroutine.
bool is_generator_coroutine(PyObject* object) noexcept {
  if (!PyGen_CheckExact(object)) return false;
  const PyRef code = PyRef::steal(PyObject_GetAttrString(object, "gi_code"));
  return (reinterpret_cast<PyCodeObject*>(code.get())->co_flags & CO_ITERABLE_COROUTINE) != 0;
}

}  // namespace

bool is_awaitable(PyObject* object) noexcept {
  if (PyCoro_CheckExact(object)) return true;
  const PyAsyncMethods* const methods = Py_TYPE(object)->tp_as_async;
  return (methods != nullptr && methods->am_await != nullptr) || is_generator_coroutine(object);
}

PyRef awaiting_iterator(PyObject* object) {
  if (PyCoro_CheckExact(object) || PyGen_CheckExact(object)) return PyRef::borrow(object);
  PyRef iterator = PyRef::steal(Py_TYPE(object)->tp_as_async->am_await(object));
  if (iterator && PyIter_Check(iterator.get()) == 0) {
    PyErr_Format(PyExc_TypeError, "__await__() returned non-iterator of type '%.100s'",
                 Py_TYPE(iterator.get())->tp_name);
    return {};
  }
  return iterator;
}

Resumed throw_into(const ModuleState& state, PyObject* iterator, PyObject* arguments,
                   PyObject** value) {
  const PyRef method = PyRef::steal(PyObject_GetAttr(iterator, state.names.throw_));
  if (!method) {
    if (PyErr_ExceptionMatches(PyExc_AttributeError) == 0) return Resumed::raised;
    PyErr_Clear();
    PyObject* const first = PyTuple_GET_ITEM(arguments, 0);
    PyErr_SetObject(
        PyExceptionInstance_Check(first) ? reinterpret_cast<PyObject*>(Py_TYPE(first)) : first,
        PyExceptionInstance_Check(first) ? first : nullptr);
    return Resumed::raised;
  }
  *value = PyObject_CallObject(method.get(), arguments);
  if (*value != nullptr) return Resumed::yielded;
  if (PyErr_ExceptionMatches(PyExc_StopIteration) == 0) return Resumed::raised;
  const PyRef stop = take_exception();
  *value = PyObject_GetAttrString(stop.get(), "value");
  return *value != nullptr ? Resumed::returned : Resumed::raised;
}

PyRef call_in_thread(PyObject* function, PyObject* args, PyObject* kwargs) {
  const PyRef module = PyRef::steal(PyImport_ImportModule("erlang.tasks"));
  if (!module) return {};
  return PyRef::steal(PyObject_CallMethod(module.get(), "in_thread", "OOO", function, args,
                                          kwargs != nullptr ? kwargs : Py_None));
}

PyRef run_apart(const PyRef& awaitable) {
  const PyRef module = PyRef::steal(PyImport_ImportModule("erlang.tasks"));
  if (!module) return {};
  return PyRef::steal(PyObject_CallMethod(module.get(), "run_apart", "O", awaitable.get()));
}

}  // namespace penstock::python
