// SPDX-License-Identifier: Apache-2.0
#include "module.hpp"

#include <new>

#include "atom.hpp"
#include "awaitable.hpp"
#include "buffer_errors.hpp"
#include "buffer_object.hpp"
#include "byte_channel.hpp"
#include "byte_view.hpp"
#include "channel_iterator.hpp"
#include "channel_object.hpp"
#include "functions.hpp"
#include "inbox_waiter.hpp"
#include "layout.hpp"
#include "loop_core.hpp"
#include "loop_endpoint.hpp"
#include "markers.hpp"
#include "opaque.hpp"
#include "output.hpp"
#include "parking.hpp"
#include "penstock/host.hpp"
#include "shared_channel.hpp"
#include "socket_awaitable.hpp"
#include "stream_read.hpp"
#include "task_run.hpp"
#include "task_server.hpp"
#include "worker.hpp"

namespace penstock::python {

namespace {

constexpr const char* kModuleName = "erlang._native";

bool add_exceptions(PyObject* module, ModuleState& state) {
  struct Exception {
    PyObject** slot;
    const char* name;
    PyObject* base;
    const char* text;
  };
  const Exception table[] = {
      {&state.channel_closed, "erlang.ChannelClosed", PyExc_Exception,
       "The channel is closed, and what was queued has been received."},
      {&state.byte_channel_closed, "erlang.ByteChannelClosed", PyExc_Exception,
       "The byte channel is closed, and what was queued has been received."},
      {&state.process_error, "erlang.ProcessError", PyExc_Exception,
       "There is no such Erlang process."},
      {&state.suspension_required, "erlang.SuspensionRequired", PyExc_BaseException,
       "Never raised; the name exists for programs that mention it."},
      {&state.application_stopped, "erlang.ApplicationStopped", PyExc_SystemExit,
       "The Erlang application that runs this code stops."},
  };
  for (const Exception& exception : table) {
    *exception.slot =
        PyErr_NewExceptionWithDoc(exception.name, exception.text, exception.base, nullptr);
    if (*exception.slot == nullptr) return false;
    if (PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(*exception.slot)) != 0) {
      return false;
    }
  }
  return true;
}

bool add_test_functions(PyObject* module) {
  return PyModule_AddFunctions(module, test_functions) == 0 &&
         PyModule_AddFunctions(module, test_stream_functions) == 0;
}

/// Before 3.12 an interpreter with a GIL of its own cannot be, and one that shares it is no use.
bool is_interpreter_supported() {
#if PY_VERSION_HEX < 0x030C0000
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
    PyErr_SetString(PyExc_ImportError, "erlang._native works in the main interpreter only");
    return false;
  }
#endif
  return true;
}

/// Forgets at the interpreter's end what keeps objects alive that the collector cannot see: an
/// instance of a type that takes no part in its work keeps its type, and that the module.
PyObject* forget_caches(PyObject* module, PyObject*) {
  state_of(module).forget();
  Py_RETURN_NONE;
}

PyMethodDef at_exit = {"_forget_caches", forget_caches, METH_NOARGS, nullptr};

/// False: an exception is set.
bool arrange_for_end(PyObject* module, ModuleState& state) {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) {
    // The module lives as long as the process, see ModuleState.
    state.home = &Home::main();
    (void)PyRef::borrow(module).take();
    return true;
  }
  const PyRef library = PyRef::steal(PyImport_ImportModule("atexit"));
  const PyRef function = PyRef::steal(PyCFunction_New(&at_exit, module));
  if (!library || !function) return false;
  return PyRef::steal(PyObject_CallMethod(library.get(), "register", "O", function.get())).get() !=
         nullptr;
}

int execute(PyObject* module) {
  if (!is_interpreter_supported()) return -1;
  auto* const state = new (std::nothrow) ModuleState;
  if (state == nullptr) {
    PyErr_NoMemory();
    return -1;
  }
  *static_cast<ModuleState**>(PyModule_GetState(module)) = state;
  forget_parked_in_children();
  const bool done =
      arrange_for_end(module, *state) && part_signals_in_children(module) &&
      state->names.intern() && add_exceptions(module, *state) && add_opaque_types(module, *state) &&
      add_atom_type(module, *state) && add_channel_type(module, *state) &&
      add_byte_channel_type(module, *state) && add_byte_view_type(module, *state) &&
      add_iterator_type(module, *state) && add_awaitable_type(module, *state) &&
      add_endpoint_type(module, *state) && add_inbox_reader_type(module, *state) &&
      add_marker_types(module, *state) && add_buffer_errors(module, *state) &&
      add_buffer_type(module, *state) && add_task_server_type(module, *state) &&
      add_task_run_type(module, *state) && add_loop_type(module, *state) &&
      add_socket_awaitable_type(module, *state) && add_stream_read_types(module, *state) &&
      PyModule_AddFunctions(module, output_functions) == 0 &&
      PyModule_AddFunctions(module, worker_functions) == 0 &&
      PyModule_AddFunctions(module, layout_functions) == 0 &&
      PyModule_AddFunctions(module, shared_channel_functions) == 0 &&
      PyModule_AddObjectRef(
          module, "is_main_interpreter",
          PyInterpreterState_Get() == PyInterpreterState_Main() ? Py_True : Py_False) == 0 &&
      PyModule_AddObjectRef(module, "is_inside_erlang", host() != nullptr ? Py_True : Py_False) ==
          0 &&
      (host() != nullptr || add_test_functions(module));
  return done ? 0 : -1;
}

/// Of a module that has not been executed there is none.
ModuleState* state_if_any(PyObject* module) noexcept {
  auto** const state = static_cast<ModuleState**>(PyModule_GetState(module));
  return state == nullptr ? nullptr : *state;
}

int traverse(PyObject* module, visitproc visit, void* arg) {
  ModuleState* const state = state_if_any(module);
  return state == nullptr ? 0 : state->visit(visit, arg);
}

int clear(PyObject* module) {
  if (ModuleState* const state = state_if_any(module)) state->clear();
  return 0;
}

void free_module(void* module) {
  if (ModuleState* const state = state_if_any(static_cast<PyObject*>(module))) state->drop_all();
}

PyModuleDef_Slot slots[] = {
    {Py_mod_exec, reinterpret_cast<void*>(execute)},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, nullptr},
};

/// A module spec of importlib for code that is not in a file.
PyRef new_spec() {
  const PyRef machinery = PyRef::steal(PyImport_ImportModule("importlib.machinery"));
  if (!machinery) return {};
  const PyRef type = PyRef::steal(PyObject_GetAttrString(machinery.get(), "ModuleSpec"));
  if (!type) return {};
  return PyRef::steal(PyObject_CallFunction(type.get(), "sO", kModuleName, Py_None));
}

}  // namespace

PyModuleDef native_module = {
    PyModuleDef_HEAD_INIT,
    kModuleName,
    "The native half of the package erlang.",
    sizeof(ModuleState*),
    module_functions,
    slots,
    traverse,
    clear,
    free_module,
};

ModuleState* import_embedded() {
  const PyRef spec = new_spec();
  if (!spec) return nullptr;
  // Not PyImport_AppendInittab: before 3.12 the importer of built-in modules finds none in
  // packages.
  const PyRef module = PyRef::steal(PyModule_FromDefAndSpec(&native_module, spec.get()));
  if (!module || PyObject_SetAttrString(module.get(), "__spec__", spec.get()) != 0 ||
      PyDict_SetItemString(PyImport_GetModuleDict(), kModuleName, module.get()) != 0 ||
      PyModule_ExecDef(module.get(), &native_module) != 0) {
    return nullptr;
  }
  const PyRef package = PyRef::steal(PyImport_ImportModule("erlang"));
  // As the import system does for a submodule that it loads itself.
  if (!package || PyObject_SetAttrString(package.get(), "_native", module.get()) != 0) {
    return nullptr;
  }
  return &state_of(module.get());
}

}  // namespace penstock::python

PyMODINIT_FUNC PyInit__native() { return PyModuleDef_Init(&penstock::python::native_module); }
