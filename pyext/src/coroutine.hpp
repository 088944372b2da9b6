// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

/// What coroutines that are written in C++ have in common.
namespace penstock::python {

/// For next() and send(): the value of a coroutine that returns is in StopIteration. Takes the
/// reference to `result`.
[[nodiscard]] PyObject* stop_with(PySendResult outcome, PyObject* result);

/// An exception of a coroutine that is a StopIteration would be taken for its result (PEP 479).
void refuse_stop_iteration();

/// For errors: "async_receive" of "Channel.async_receive".
[[nodiscard]] const char* method_of(const char* qualified_name) noexcept;

/// The exception that throw() was called with, by its tuple of arguments.
struct Thrown {
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;

  /// False: TypeError is set.
  [[nodiscard]] bool parse(PyObject* args);
  void raise() const;
};

/// What becomes of the instances of a coroutine's type.
struct CoroutineLife {
  destructor dealloc;
  traverseproc traverse;
  inquiry clear;
};

/// The type of one kind of coroutines, and its methods: `Object` is its struct, with the
/// members is_done and is_running. `Resume` takes an unfinished one, which is_running; `Cancel`
/// ends it unfinished; `NameOf` is as "Channel.async_receive", of which errors use what is behind
/// the dot.
///
/// Threads: with the GIL.
template <class Object, PySendResult (*Resume)(Object&, PyObject**), void (*Cancel)(Object&),
          const char* (*NameOf)(const Object&)>
class Coroutine {
 public:
  /// Makes the type; only C++ makes instances of it. nullptr: an exception is set.
  [[nodiscard]] static PyTypeObject* new_type(PyObject* module, const char* name,
                                              const CoroutineLife& life) {
    PyType_Slot slots[] = {
        {Py_tp_dealloc, reinterpret_cast<void*>(life.dealloc)},
        {Py_tp_traverse, reinterpret_cast<void*>(life.traverse)},
        {Py_tp_clear, reinterpret_cast<void*>(life.clear)},
        {Py_tp_iter, reinterpret_cast<void*>(itself)},
        {Py_tp_iternext, reinterpret_cast<void*>(next)},
        {Py_am_await, reinterpret_cast<void*>(itself)},
        {Py_am_send, reinterpret_cast<void*>(send)},
        {Py_tp_methods, methods},
        {Py_tp_getset, properties},
        {0, nullptr},
    };
    PyType_Spec spec = {name, sizeof(Object), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                            Py_TPFLAGS_DISALLOW_INSTANTIATION,
                        slots};
    return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
  }

 private:
  static PySendResult send(PyObject* object, PyObject*, PyObject** result) {
    Object& self = of(object);
    *result = nullptr;
    if (!may_run(self) || !may_go_on(self)) return PYGEN_ERROR;
    self.is_running = true;
    const PySendResult outcome = Resume(self, result);
    self.is_running = false;
    if (outcome == PYGEN_ERROR) refuse_stop_iteration();
    return outcome;
  }

  static PyObject* send_method(PyObject* object, PyObject* value) {
    PyObject* result = nullptr;
    const PySendResult outcome = send(object, value, &result);
    return stop_with(outcome, result);
  }

  static PyObject* next(PyObject* object) { return send_method(object, Py_None); }

  static PyObject* throw_into(PyObject* object, PyObject* args) {
    Thrown thrown;
    Object& self = of(object);
    if (!thrown.parse(args) || !may_run(self) || !may_go_on(self)) return nullptr;
    Cancel(self);
    thrown.raise();
    refuse_stop_iteration();
    return nullptr;
  }

  static PyObject* close(PyObject* object, PyObject*) {
    Object& self = of(object);
    if (!may_run(self)) return nullptr;
    if (!self.is_done) Cancel(self);
    Py_RETURN_NONE;
  }

  static PyObject* itself(PyObject* object) { return PyRef::borrow(object).take(); }

  static PyObject* name(PyObject* object, void*) {
    return PyUnicode_FromString(NameOf(of(object)));
  }

  static inline PyMethodDef methods[] = {
      {"send", send_method, METH_O, nullptr},
      {"throw", throw_into, METH_VARARGS, nullptr},
      {"close", close, METH_NOARGS, nullptr},
      {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, nullptr},
      {nullptr, nullptr, 0, nullptr},
  };
  static inline PyGetSetDef properties[] = {
      {"__name__", name, nullptr, nullptr, nullptr},
      {"__qualname__", name, nullptr, nullptr, nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr},
  };

  static Object& of(PyObject* object) noexcept { return *reinterpret_cast<Object*>(object); }

  /// False: an exception is set.
  static bool may_run(const Object& self) {
    if (self.is_running) {
      PyErr_Format(PyExc_RuntimeError, "%s() is already executing", method_of(NameOf(self)));
    }
    return !self.is_running;
  }

  /// Same.
  static bool may_go_on(const Object& self) {
    if (self.is_done) {
      PyErr_Format(PyExc_RuntimeError, "cannot reuse an awaited %s()", method_of(NameOf(self)));
    }
    return !self.is_done;
  }
};

}  // namespace penstock::python
