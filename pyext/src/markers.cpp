// SPDX-License-Identifier: Apache-2.0
#include "markers.hpp"

#include <structmember.h>

#include <cstddef>

#include "arguments.hpp"
#include "penstock/shim.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

/// What the VM gives a process, and so what a piece of work should take at once.
constexpr std::int64_t kSlice_ns = 1'000'000;

/// What this thread has used of its slice.
struct TimeSlice {
  std::int64_t began_ns = 0;     ///< 0: not yet, on a thread that serves no requests.
  std::int64_t declared_ns = 0;  ///< Said to have been used, beside the time that passed.
};
constinit thread_local TimeSlice slice;

// Types
// ------------------------------------------------------------------------------------------------

int marker_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  const MarkerObject& self = as_marker(object);
  Py_VISIT(self.args);
  Py_VISIT(self.kwargs);
  Py_VISIT(self.globals);
  return 0;
}

int marker_clear(PyObject* object) {
  MarkerObject& self = as_marker(object);
  drop(std::exchange(self.args, nullptr));
  drop(std::exchange(self.kwargs, nullptr));
  drop(std::exchange(self.globals, nullptr));
  return 0;
}

void marker_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  (void)marker_clear(object);
  drop(as_marker(object).module);
  drop(as_marker(object).function);
  free_instance(object);
}

PyObject* marker_repr(PyObject* object) {
  const MarkerObject& self = as_marker(object);
  const char* const type = Py_TYPE(object)->tp_name;
  if (self.module == nullptr) return PyUnicode_FromFormat("<%s callback=%R>", type, self.function);
  return PyUnicode_FromFormat("<%s %U.%U>", type, self.module, self.function);
}

PyMemberDef members[] = {
    {"module", T_OBJECT, offsetof(MarkerObject, module), READONLY, nullptr},
    {"func", T_OBJECT, offsetof(MarkerObject, function), READONLY, nullptr},
    {"args", T_OBJECT, offsetof(MarkerObject, args), READONLY, nullptr},
    {"kwargs", T_OBJECT, offsetof(MarkerObject, kwargs), READONLY, nullptr},
    {"_globals", T_OBJECT, offsetof(MarkerObject, globals), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_members, members},
    {Py_tp_dealloc, reinterpret_cast<void*>(marker_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(marker_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(marker_clear)},
    {Py_tp_repr, reinterpret_cast<void*>(marker_repr)},
    {Py_tp_doc, const_cast<char*>("Return it from a function that Erlang called, and the call goes "
                                  "on as it says.")},
    {0, nullptr},
};

constexpr unsigned kFlags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                            Py_TPFLAGS_DISALLOW_INSTANTIATION;
PyType_Spec schedule_spec = {"erlang.ScheduleMarker", sizeof(MarkerObject), 0, kFlags, slots};
PyType_Spec inline_spec = {"erlang.InlineScheduleMarker", sizeof(MarkerObject), 0, kFlags, slots};

/// Takes `args` over.
PyObject* new_marker(PyTypeObject* type, PyObject* module, PyObject* function, PyRef args,
                     PyObject* kwargs, PyObject* globals) {
  if (!args) return nullptr;
  MarkerObject* const self = PyObject_GC_New(MarkerObject, type);
  if (self == nullptr) return nullptr;
  self->module = PyRef::borrow(module).take();
  self->function = PyRef::borrow(function).take();
  self->args = args.take();
  self->kwargs = PyRef::borrow(kwargs).take();
  self->globals = PyRef::borrow(globals).take();
  auto* const object = reinterpret_cast<PyObject*>(self);
  PyObject_GC_Track(object);
  return object;
}

// Functions
// ------------------------------------------------------------------------------------------------

/// (module, func, args=None, kwargs=None) of a Python function.
struct PythonFunction {
  PyObject* module = nullptr;
  PyObject* function = nullptr;
  PyObject* args = nullptr;
  PyObject* kwargs = nullptr;

  /// False: TypeError is set.
  bool parse(const Arguments& given) {
    if (!assign(given, 4,
                {{"module", &module}, {"func", &function}, {"args", &args}, {"kwargs", &kwargs}})) {
      return false;
    }
    if (module == nullptr || function == nullptr) {
      PyErr_Format(PyExc_TypeError, "%s() takes the name of a module and that of a function",
                   given.function);
      return false;
    }
    for (PyObject* const name : {module, function}) {
      if (PyUnicode_Check(name) != 0) continue;
      PyErr_Format(PyExc_TypeError, "%s() takes names as str, not '%.200s'", given.function,
                   Py_TYPE(name)->tp_name);
      return false;
    }
    if (kwargs == Py_None) kwargs = nullptr;
    if (args == Py_None) args = nullptr;
    if (args != nullptr && !PyList_Check(args) && !PyTuple_Check(args)) {
      PyErr_Format(PyExc_TypeError, "args must be a list, a tuple or None, not '%.200s'",
                   Py_TYPE(args)->tp_name);
      return false;
    }
    if (kwargs != nullptr && !PyDict_Check(kwargs)) {
      PyErr_Format(PyExc_TypeError, "kwargs must be a dict or None, not '%.200s'",
                   Py_TYPE(kwargs)->tp_name);
      return false;
    }
    return true;
  }

  [[nodiscard]] PyRef tuple() const {
    return PyRef::steal(args == nullptr ? PyTuple_New(0) : PySequence_Tuple(args));
  }
};

}  // namespace

PyObject* schedule(PyObject* module, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
  if (keywords != nullptr && PyTuple_GET_SIZE(keywords) != 0) {
    PyErr_SetString(PyExc_TypeError, "schedule() takes no keyword arguments");
    return nullptr;
  }
  if (count == 0) {
    PyErr_SetString(PyExc_TypeError, "schedule() takes the name of a function, and its arguments");
    return nullptr;
  }
  if (!PyUnicode_Check(args[0])) {
    PyErr_Format(PyExc_TypeError, "Function name must be a string, not '%.200s'",
                 Py_TYPE(args[0])->tp_name);
    return nullptr;
  }
  PyRef tuple = PyRef::steal(PyTuple_New(count - 1));
  for (Py_ssize_t i = 1; tuple && i < count; ++i) {
    PyTuple_SET_ITEM(tuple.get(), i - 1, PyRef::borrow(args[i]).take());
  }
  return new_marker(state_of(module).schedule_marker_type, nullptr, args[0], std::move(tuple),
                    nullptr, nullptr);
}

PyObject* schedule_py(PyObject* module, PyObject* const* args, Py_ssize_t count,
                      PyObject* keywords) {
  PythonFunction function;
  if (!function.parse({"schedule_py", args, count, keywords})) return nullptr;
  return new_marker(state_of(module).schedule_marker_type, function.module, function.function,
                    function.tuple(), function.kwargs, nullptr);
}

PyObject* schedule_inline(PyObject* module, PyObject* const* args, Py_ssize_t count,
                          PyObject* keywords) {
  PythonFunction function;
  if (!function.parse({"schedule_inline", args, count, keywords})) return nullptr;
  return new_marker(state_of(module).inline_marker_type, function.module, function.function,
                    function.tuple(), function.kwargs, PyEval_GetGlobals());
}

PyObject* consume_time_slice(PyObject* /*module*/, PyObject* object) {
  if (!PyLong_Check(object)) {
    PyErr_Format(PyExc_TypeError, "percent must be an int, not '%.200s'", Py_TYPE(object)->tp_name);
    return nullptr;
  }
  int overflow = 0;
  const long percent = PyLong_AsLongAndOverflow(object, &overflow);
  if (overflow != 0 || percent < 1 || percent > 100) {
    PyErr_SetString(PyExc_ValueError, "percent must be from 1 to 100");
    return nullptr;
  }
  std::int64_t const now = now_ns();
  if (slice.began_ns == 0) slice.began_ns = now;
  slice.declared_ns += percent * (kSlice_ns / 100);
  if (now - slice.began_ns + slice.declared_ns < kSlice_ns) Py_RETURN_FALSE;
  // A caller that goes on all the same begins another one.
  slice = {now, 0};
  Py_RETURN_TRUE;
}

void begin_time_slice() noexcept { slice = {now_ns(), 0}; }

bool add_marker_types(PyObject* module, ModuleState& state) {
  return add_type(module, schedule_spec, state.schedule_marker_type) &&
         add_type(module, inline_spec, state.inline_marker_type);
}

}  // namespace penstock::python
