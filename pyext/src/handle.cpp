// SPDX-License-Identifier: Apache-2.0
#include "handle.hpp"

#include <structmember.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <utility>

#include "exceptions.hpp"
#include "loop_core.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

using Form = HandleObject::Form;

// Life
// ---------------------------------------------------------------------------------------------

LoopLibrary& library_of(const HandleObject& self) noexcept {
  return LoopCore::of(self.loop).library();
}

/// What the interpreter keeps in front of an instance: the links of the collector, and since 3.12
/// the weak references.
std::size_t size_in_front(const PyTypeObject* type) noexcept {
#if PY_VERSION_HEX >= 0x030C0000
  if ((type->tp_flags & Py_TPFLAGS_MANAGED_WEAKREF) != 0) return 4 * sizeof(void*);
#endif
  (void)type;
  return 2 * sizeof(void*);
}

/// The collector follows handles, but is not to be called because there are many: with
/// PyObject_GC_New, who makes 10,000 timers pays most of all for fifteen collections in vain.
HandleObject* new_memory(PyTypeObject* type) {
  const std::size_t in_front = size_in_front(type);
  void* const memory = PyObject_Malloc(in_front + sizeof(HandleObject));
  if (memory == nullptr) {
    PyErr_NoMemory();
    return nullptr;
  }
  std::memset(memory, 0, in_front);
  void* const object = static_cast<std::byte*>(memory) + in_front;
  return reinterpret_cast<HandleObject*>(PyObject_Init(static_cast<PyObject*>(object), type));
}

/// One that was used before, or a new one; nullptr: MemoryError is set.
HandleObject* allocate(LoopLibrary& library, bool is_timer) {
  LoopLibrary::Spare& spare = library.spare[is_timer ? 1 : 0];
  if (spare.count == 0) return new_memory(is_timer ? library.timer_type : library.handle_type);
  HandleObject* const self = spare.handles[--spare.count];
  _Py_NewReference(reinterpret_cast<PyObject*>(self));
  return self;
}

/// False: MemoryError is set.
bool set_arguments(HandleObject& self, const Callback& callback) {
  self.form = Form::none;
  self.args = nullptr;
  if (callback.count == 1) {
    self.form = Form::single;
    self.args = PyRef::borrow(callback.args[0]).take();
  } else if (callback.count > 1) {
    self.form = Form::tuple;
    self.args = PyTuple_New(callback.count);
    if (self.args == nullptr) return false;
    for (Py_ssize_t i = 0; i < callback.count; ++i) {
      PyTuple_SET_ITEM(self.args, i, PyRef::borrow(callback.args[i]).take());
    }
  }
  return true;
}

/// False: an exception is set.
bool set_context(HandleObject& self, LoopCore& loop, PyObject* context) {
  if (context == nullptr) {
    self.shares_context = loop.library().can_share_contexts;
    self.context = (self.shares_context ? loop.shared_context().current()
                                        : PyRef::steal(PyContext_CopyCurrent()))
                       .take();
  } else if (PyContext_CheckExact(context)) {
    self.context = PyRef::borrow(context).take();
  } else {
    PyErr_Format(PyExc_TypeError, "a contextvars.Context was expected, got %.200s",
                 Py_TYPE(context)->tp_name);
  }
  return self.context != nullptr;
}

/// Makes the context the handle's own. False: MemoryError is set.
bool own_context(HandleObject& self) {
  if (!self.shares_context) return true;
  PyRef own = PyRef::steal(PyContext_Copy(self.context));
  if (!own) return false;
  self.shares_context = false;
  drop(std::exchange(self.context, own.take()));
  return true;
}

bool set_traceback(HandleObject& self, const LoopLibrary& library) {
  const PyRef frame = PyRef::steal(PyObject_CallNoArgs(library.current_frame));
  // Called from C alone, there is no frame.
  if (!frame) {
    PyErr_Clear();
    return true;
  }
  self.source_traceback = PyObject_CallOneArg(library.extract_stack, frame.get());
  return self.source_traceback != nullptr;
}

PyRef new_object(LoopCore& loop, bool is_timer, double when, const Callback& callback) {
  LoopLibrary& library = loop.library();
  HandleObject* const self = allocate(library, is_timer);
  if (self == nullptr) return {};
  self->callback = PyRef::borrow(callback.function).take();
  self->cancelled_slot = nullptr;
  self->context = nullptr;
  self->loop = PyRef::borrow(loop.object()).take();
  self->text = nullptr;
  self->source_traceback = nullptr;
  self->other_slots = {};
  self->when = when;
  self->is_cancelled = false;
  self->is_scheduled = false;
  self->shares_context = false;
  PyRef result = PyRef::steal(reinterpret_cast<PyObject*>(self));
  const bool done = set_arguments(*self, callback) && set_context(*self, loop, callback.context);
  PyObject_GC_Track(self);
  if (!done || (loop.is_debug() && !set_traceback(*self, library))) return {};
  return result;
}

int handle_traverse(PyObject* object, visitproc visit, void* arg) {
  const HandleObject& self = as_handle(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self.args);
  Py_VISIT(self.callback);
  Py_VISIT(self.context);
  Py_VISIT(self.loop);
  Py_VISIT(self.source_traceback);
  return 0;
}

void drop_callback(HandleObject& self) {
  self.form = Form::none;
  const PyRef args = PyRef::steal(std::exchange(self.args, nullptr));
  const PyRef callback = PyRef::steal(std::exchange(self.callback, nullptr));
}

/// The loop and the context stay, which the handle's methods use; they are in no cycle with it that
/// is not also one with the callback.
int handle_clear(PyObject* object) {
  HandleObject& self = as_handle(object);
  drop_callback(self);
  drop(std::exchange(self.source_traceback, nullptr));
  return 0;
}

void handle_dealloc(PyObject* object) {
  HandleObject& self = as_handle(object);
  PyObject_GC_UnTrack(object);
  PyObject_ClearWeakRefs(object);
  LoopLibrary& library = library_of(self);
  drop_callback(self);
  drop(std::exchange(self.context, nullptr));
  drop(std::exchange(self.text, nullptr));
  drop(std::exchange(self.source_traceback, nullptr));
  drop(std::exchange(self.loop, nullptr));
  LoopLibrary::Spare& spare = library.spare[Py_TYPE(object) == library.timer_type ? 1 : 0];
  if (spare.count < library.max_spare) {
    spare.handles[spare.count++] = &self;  // With its type's reference.
    return;
  }
  free_handle(self);
}

// Running
// ---------------------------------------------------------------------------------------------

PyObject* call(const HandleObject& self) {
  // Running it, it may be cancelled.
  const PyRef callback = PyRef::borrow(self.callback);
  const PyRef args = PyRef::borrow(self.args);
  switch (self.form) {
    case Form::none:
      return PyObject_CallNoArgs(callback.get());
    case Form::single: {
      PyObject* const stack[] = {nullptr, args.get()};
      return PyObject_Vectorcall(callback.get(), stack + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                 nullptr);
    }
    case Form::tuple:
      break;
  }
  return PyObject_Call(callback.get(), args.get(), nullptr);
}

PyRef call_in_context(HandleObject& self) {
  if (!own_context(self) || PyContext_Enter(self.context) != 0) return {};
  PyRef result = PyRef::steal(call(self));
  if (PyContext_Exit(self.context) != 0) return {};
  return result;
}

/// The callback raised.
bool report(HandleObject& self) {
  if (PyErr_ExceptionMatches(PyExc_SystemExit) != 0 ||
      PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) != 0) {
    return false;
  }
  const PyRef exception = take_exception();
  const PyRef done = PyRef::steal(PyObject_CallMethod(
      self.loop, "_callback_failed", "OO", reinterpret_cast<PyObject*>(&self), exception.get()));
  return static_cast<bool>(done);
}

// Methods
// ---------------------------------------------------------------------------------------------

PyObject* handle_run(PyObject* object, PyObject*) {
  HandleObject& self = as_handle(object);
  if (self.callback != nullptr && !run(self)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* handle_cancel(PyObject* object, PyObject*) {
  if (!cancel(as_handle(object))) return nullptr;
  Py_RETURN_NONE;
}

PyObject* handle_cancelled(PyObject* object, PyObject*) {
  return PyBool_FromLong(as_handle(object).is_cancelled);
}

PyObject* handle_context(PyObject* object, PyObject*) {
  HandleObject& self = as_handle(object);
  return own_context(self) ? PyRef::borrow(self.context).take() : nullptr;
}

PyObject* handle_when(PyObject* object, PyObject*) {
  return PyFloat_FromDouble(as_handle(object).when);
}

PyObject* get_args(PyObject* object, void*) {
  const HandleObject& self = as_handle(object);
  if (self.callback == nullptr) Py_RETURN_NONE;
  if (self.form == Form::tuple) return PyRef::borrow(self.args).take();
  return self.form == Form::none ? PyTuple_New(0) : PyTuple_Pack(1, self.args);
}

PyObject* get_context(PyObject* object, void*) { return handle_context(object, nullptr); }
PyObject* get_cancelled(PyObject* object, void*) { return handle_cancelled(object, nullptr); }
PyObject* get_when(PyObject* object, void*) { return handle_when(object, nullptr); }
PyObject* get_scheduled(PyObject* object, void*) {
  return PyBool_FromLong(as_handle(object).is_scheduled);
}

// Types
// ---------------------------------------------------------------------------------------------

PyMethodDef handle_methods[] = {
    {"_run", handle_run, METH_NOARGS, nullptr},
    {"cancel", handle_cancel, METH_NOARGS, nullptr},
    {"cancelled", handle_cancelled, METH_NOARGS, nullptr},
    {"get_context", handle_context, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyMethodDef timer_methods[] = {
    {"_run", handle_run, METH_NOARGS, nullptr},
    {"cancel", handle_cancel, METH_NOARGS, nullptr},
    {"cancelled", handle_cancelled, METH_NOARGS, nullptr},
    {"get_context", handle_context, METH_NOARGS, nullptr},
    {"when", handle_when, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef handle_properties[] = {
    {"_args", get_args, nullptr, nullptr, nullptr},
    {"_cancelled", get_cancelled, nullptr, nullptr, nullptr},
    {"_context", get_context, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyGetSetDef timer_properties[] = {
    {"_args", get_args, nullptr, nullptr, nullptr},
    {"_cancelled", get_cancelled, nullptr, nullptr, nullptr},
    {"_context", get_context, nullptr, nullptr, nullptr},
    {"_scheduled", get_scheduled, nullptr, nullptr, nullptr},
    {"_when", get_when, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

// None where the slots would raise AttributeError.
PyMemberDef members[] = {
    {"_callback", T_OBJECT, offsetof(HandleObject, callback), READONLY, nullptr},
    {"_repr", T_OBJECT, offsetof(HandleObject, text), READONLY, nullptr},
    {"_source_traceback", T_OBJECT, offsetof(HandleObject, source_traceback), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot handle_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(handle_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(handle_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(handle_clear)},
    {Py_tp_methods, handle_methods},
    {Py_tp_getset, handle_properties},
    {Py_tp_members, members},
    {0, nullptr},
};

PyType_Slot timer_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(handle_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(handle_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(handle_clear)},
    {Py_tp_methods, timer_methods},
    {Py_tp_getset, timer_properties},
    {Py_tp_members, members},
    {0, nullptr},
};

constexpr unsigned int kFlags =
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION;

PyType_Spec handle_spec = {"erlang.Handle", sizeof(HandleObject), 0, kFlags, handle_slots};
PyType_Spec timer_spec = {"erlang.TimerHandle", sizeof(HandleObject), 0, kFlags, timer_slots};

struct Slot {
  const char* name;
  std::size_t offset;
};

/// Whether the class of asyncio keeps its slots where HandleObject has them. False: ImportError is
/// set.
bool has_slots(PyObject* base, std::initializer_list<Slot> slots) {
  const auto* const type = reinterpret_cast<PyTypeObject*>(base);
  bool fits = type->tp_basicsize <= static_cast<Py_ssize_t>(offsetof(HandleObject, when));
  for (const Slot& slot : slots) {
    const PyRef found = PyRef::steal(PyObject_GetAttrString(base, slot.name));
    if (!found) return false;
    fits = fits && Py_TYPE(found.get()) == &PyMemberDescr_Type &&
           reinterpret_cast<PyMemberDescrObject*>(found.get())->d_member->offset ==
               static_cast<Py_ssize_t>(slot.offset);
  }
  if (!fits) PyErr_Format(PyExc_ImportError, "%s is not laid out as expected", type->tp_name);
  return fits;
}

PyTypeObject* make(PyObject* module, PyType_Spec& spec, PyObject* base) {
  const PyRef bases = PyRef::steal(PyTuple_Pack(1, base));
  if (!bases) return nullptr;
  return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, bases.get()));
}

}  // namespace

void free_handle(HandleObject& handle) noexcept {
  const PyRef type = PyRef::steal(reinterpret_cast<PyObject*>(Py_TYPE(&handle)));
  PyObject_Free(reinterpret_cast<std::byte*>(&handle) - size_in_front(Py_TYPE(&handle)));
}

bool is_handle(const ModuleState& state, PyObject* object) noexcept {
  return Py_TYPE(object) == state.loops.handle_type || Py_TYPE(object) == state.loops.timer_type;
}

PyRef new_handle(LoopCore& loop, const Callback& callback) {
  return new_object(loop, false, 0.0, callback);
}

PyRef new_timer(LoopCore& loop, double when, const Callback& callback) {
  return new_object(loop, true, when, callback);
}

bool cancel(HandleObject& handle) {
  if (handle.is_cancelled) return true;
  LoopCore& loop = LoopCore::of(handle.loop);
  handle.is_cancelled = true;
  if (handle.is_scheduled) loop.timer_cancelled(handle);
  if (loop.is_debug()) {
    // For what is logged about it later.
    handle.text = PyObject_Repr(reinterpret_cast<PyObject*>(&handle));
    if (handle.text == nullptr) return false;
  }
  drop_callback(handle);
  return true;
}

bool run(HandleObject& handle) {
  return static_cast<bool>(call_in_context(handle)) || report(handle);
}

bool make_handle_types(PyObject* module, ModuleState& state) {
  const PyRef events = PyRef::steal(PyImport_ImportModule("asyncio.events"));
  if (!events) return false;
  const PyRef handle = PyRef::steal(PyObject_GetAttrString(events.get(), "Handle"));
  const PyRef timer = PyRef::steal(PyObject_GetAttrString(events.get(), "TimerHandle"));
  if (!handle || !timer ||
      !has_slots(handle.get(), {{"_args", offsetof(HandleObject, args)},
                                {"_callback", offsetof(HandleObject, callback)},
                                {"_cancelled", offsetof(HandleObject, cancelled_slot)},
                                {"_context", offsetof(HandleObject, context)},
                                {"_loop", offsetof(HandleObject, loop)},
                                {"_repr", offsetof(HandleObject, text)},
                                {"_source_traceback", offsetof(HandleObject, source_traceback)}}) ||
      !has_slots(timer.get(), {})) {
    return false;
  }
  state.loops.handle_type = make(module, handle_spec, handle.get());
  state.loops.timer_type = make(module, timer_spec, timer.get());
  return state.loops.handle_type != nullptr && state.loops.timer_type != nullptr;
}

}  // namespace penstock::python
