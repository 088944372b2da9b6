// SPDX-License-Identifier: Apache-2.0
#include "stream_read.hpp"

#include <structmember.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "attributes.hpp"
#include "coroutine.hpp"
#include "set_aside.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

StreamRead& as_read(PyObject* object) noexcept { return *reinterpret_cast<StreamRead*>(object); }

// Waiting
// ---------------------------------------------------------------------------------------------

/// The exception, if any, that is set stays.
void stop_waiting(StreamRead& self) {
  const PyRef future = PyRef::steal(std::exchange(self.future, nullptr));
  if (!future) return;
  const SetAside exception;
  if (!Attributes(self.reader).set(self.state->names.waiter, Py_None)) {
    PyErr_WriteUnraisable(self.reader);
  }
}

/// A task keeps its coroutine for as long as it lives, and shall not keep the reader.
void finish(StreamRead& self) {
  self.is_done = true;
  stop_waiting(self);
  drop(std::exchange(self.reader, nullptr));
}

/// As asyncio: who waits while reading is paused would wait for ever. False: an exception is set.
bool resume_transport(const ModuleState::Names& names, const Attributes& reader) {
  const int is_paused = reader.is_true(names.paused);
  if (is_paused <= 0) return is_paused == 0;
  const PyRef transport = reader.get(names.transport);
  return transport && reader.set(names.paused, Py_False) &&
         PyRef::steal(PyObject_CallMethod(transport.get(), "resume_reading", nullptr));
}

/// Gets the future that the reader wakes when something comes. False: an exception is set.
bool start_waiting(StreamRead& self, const Attributes& reader) {
  const ModuleState::Names& names = self.state->names;
  const PyRef waiter = reader.get(names.waiter);
  if (!waiter) return false;
  if (waiter.get() != Py_None) {
    PyErr_SetString(PyExc_RuntimeError,
                    "read() called while another coroutine is already waiting for incoming data");
    return false;
  }
  if (!resume_transport(names, reader)) return false;
  const PyRef loop = reader.get(names.loop);
  PyRef future =
      loop ? PyRef::steal(PyObject_CallMethodNoArgs(loop.get(), names.create_future)) : PyRef();
  if (!future || PyObject_SetAttr(future.get(), names.future_blocking, Py_True) != 0 ||
      !reader.set(names.waiter, future.get())) {
    return false;
  }
  self.future = future.take();
  return true;
}

/// 1, 0, or -1: an exception is set.
int is_over(const StreamRead& self) {
  const PyRef done = PyRef::steal(PyObject_CallMethodNoArgs(self.future, self.state->names.done));
  return done ? PyObject_IsTrue(done.get()) : -1;
}

/// False: the exception of whoever ended the wait is set.
bool end_wait(StreamRead& self) {
  const PyRef future = PyRef::borrow(self.future);
  stop_waiting(self);
  return static_cast<bool>(
      PyRef::steal(PyObject_CallMethodNoArgs(future.get(), self.state->names.result)));
}

// Running
// ---------------------------------------------------------------------------------------------

/// False: an exception is set.
bool check_exception(const PyRef& exception) {
  if (!exception || exception.get() == Py_None) return static_cast<bool>(exception);
  if (PyExceptionInstance_Check(exception.get())) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
  } else if (PyExceptionClass_Check(exception.get())) {
    PyErr_SetNone(exception.get());
  } else {
    PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
  }
  return false;
}

/// Takes up to `limit` bytes out of the buffer. Empty: an exception is set.
PyRef take(const StreamRead& self, PyObject* buffer) {
  const Py_ssize_t there = PyByteArray_GET_SIZE(buffer);
  const Py_ssize_t size = std::min(there, self.limit);
  PyRef bytes = PyRef::steal(PyBytes_FromStringAndSize(PyByteArray_AS_STRING(buffer), size));
  if (!bytes || size == 0) return bytes;
  const int error =
      size == there ? PyByteArray_Resize(buffer, 0) : PySequence_DelSlice(buffer, 0, size);
  return error == 0 ? std::move(bytes) : PyRef();
}

PySendResult fail(StreamRead& self) {
  finish(self);
  return PYGEN_ERROR;
}

PySendResult resume(StreamRead& self, PyObject** result) {
  const ModuleState::Names& names = self.state->names;
  const bool has_waited = self.future != nullptr;
  if (has_waited) {
    const int over = is_over(self);
    if (over == 0) {
      PyErr_SetString(PyExc_RuntimeError, "read() is being awaited already");
      return PYGEN_ERROR;  // Of somebody else. It goes on for those whose wait it is.
    }
    if (over < 0 || !end_wait(self)) return fail(self);
  }
  const Attributes reader(self.reader);
  if (!has_waited && !check_exception(reader.get(names.exception))) return fail(self);
  const PyRef buffer = reader.get(names.buffer);
  if (!buffer) return fail(self);
  if (PyByteArray_Check(buffer.get()) == 0) {
    PyErr_SetString(PyExc_TypeError, "the buffer of a stream is a bytearray");
    return fail(self);
  }
  if (!has_waited && PyByteArray_GET_SIZE(buffer.get()) == 0) {
    const int is_eof = reader.is_true(names.eof);
    if (is_eof < 0 || (is_eof == 0 && !start_waiting(self, reader))) return fail(self);
    if (is_eof == 0) {
      *result = PyRef::borrow(self.future).take();
      return PYGEN_NEXT;
    }
  }
  PyRef bytes = take(self, buffer.get());
  const int is_paused = bytes ? reader.is_true(names.paused) : -1;
  if (is_paused < 0 || (is_paused > 0 && !PyRef::steal(PyObject_CallMethodNoArgs(
                                             self.reader, names.maybe_resume_transport)))) {
    return fail(self);
  }
  finish(self);
  *result = bytes.take();
  return PYGEN_RETURN;
}

const char* name_of(const StreamRead&) { return "StreamReader.read"; }

using Methods = Coroutine<StreamRead, resume, finish, name_of>;

// Life
// ---------------------------------------------------------------------------------------------

int read_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(as_read(object).reader);
  Py_VISIT(as_read(object).future);
  return 0;
}

int read_clear(PyObject* object) {
  finish(as_read(object));
  return 0;
}

void read_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  (void)read_clear(object);
  free_instance(object);
}

PyObject* new_read(ModuleState& state, PyObject* reader, Py_ssize_t limit) {
  StreamRead* const self = PyObject_GC_New(StreamRead, state.loops.stream_read_type);
  if (self == nullptr) return nullptr;
  self->state = &state;
  self->reader = PyRef::borrow(reader).take();
  self->limit = limit;
  self->future = nullptr;
  self->is_done = false;
  self->is_running = false;
  auto* const object = reinterpret_cast<PyObject*>(self);
  PyObject_GC_Track(object);
  return object;
}

// The method
// ---------------------------------------------------------------------------------------------

/// `reader.read(n)` calls it without looking it up as an attribute of the reader; whoever does look
/// (inspect, functools, a mock) gets asyncio's own method, which does the same.
struct StreamReadMethod {
  PyObject_HEAD ModuleState* state;
  vectorcallfunc call;
  PyObject* original;  ///< asyncio.StreamReader.read when it was made.
};

StreamReadMethod& as_method(PyObject* object) noexcept {
  return *reinterpret_cast<StreamReadMethod*>(object);
}

/// Whether the first argument is a reader whose class and asyncio's are as they were.
bool is_plain(const StreamReadMethod& self, PyObject* reader) {
  const LoopLibrary& library = self.state->loops;
  auto* const base = reinterpret_cast<PyTypeObject*>(library.stream_reader);
  return reinterpret_cast<PyObject*>(Py_TYPE(reader)) == library.fast_stream_reader &&
         _PyType_Lookup(base, self.state->names.read) == self.original;
}

PyObject* call_method(PyObject* object, PyObject* const* args, std::size_t flags,
                      PyObject* keywords) {
  const StreamReadMethod& self = as_method(object);
  if (PyVectorcall_NARGS(flags) == 2 && keywords == nullptr && PyLong_CheckExact(args[1]) &&
      is_plain(self, args[0])) {
    const Py_ssize_t limit = PyLong_AsSsize_t(args[1]);
    if (limit > 0) return new_read(*self.state, args[0], limit);
    PyErr_Clear();
  }
  const PyRef own =
      PyRef::steal(PyObject_GetAttr(self.state->loops.stream_reader, self.state->names.read));
  return own ? PyObject_Vectorcall(own.get(), args, flags & ~PY_VECTORCALL_ARGUMENTS_OFFSET,
                                   keywords)
             : nullptr;
}

PyObject* get_method(PyObject* object, PyObject* reader, PyObject* type) {
  const StreamReadMethod& self = as_method(object);
  PyRef own =
      PyRef::steal(PyObject_GetAttr(self.state->loops.stream_reader, self.state->names.read));
  if (!own) return nullptr;
  const descrgetfunc bind = Py_TYPE(own.get())->tp_descr_get;
  return bind == nullptr ? own.take() : bind(own.get(), reader, type);
}

int method_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(as_method(object).original);
  return 0;
}

int method_clear(PyObject* object) {
  drop(std::exchange(as_method(object).original, nullptr));
  return 0;
}

void method_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  (void)method_clear(object);
  free_instance(object);
}

PyMemberDef method_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(StreamReadMethod, call), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot method_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(method_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(method_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(method_clear)},
    {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
    {Py_tp_descr_get, reinterpret_cast<void*>(get_method)},
    {Py_tp_members, method_members},
    {0, nullptr},
};

PyType_Spec method_spec = {"erlang.StreamReadMethod", sizeof(StreamReadMethod), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                               Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR |
                               Py_TPFLAGS_DISALLOW_INSTANTIATION,
                           method_slots};

}  // namespace

bool give_fast_read(const LoopLibrary& library, PyObject* reader, PyObject* loop) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(reader)) != library.stream_reader) return true;
  const PyRef of_reader = PyRef::steal(PyObject_GetAttrString(reader, "_loop"));
  if (!of_reader) return false;
  return of_reader.get() != loop ||
         PyObject_SetAttrString(reader, "__class__", library.fast_stream_reader) == 0;
}

PyObject* stream_read_method(PyObject* module, PyObject* original) {
  ModuleState& state = state_of(module);
  StreamReadMethod* const self = PyObject_GC_New(StreamReadMethod, state.loops.read_method_type);
  if (self == nullptr) return nullptr;
  self->state = &state;
  self->call = call_method;
  self->original = PyRef::borrow(original).take();
  auto* const object = reinterpret_cast<PyObject*>(self);
  PyObject_GC_Track(object);
  return object;
}

bool add_stream_read_types(PyObject* module, ModuleState& state) {
  state.loops.stream_read_type =
      Methods::new_type(module, "erlang.StreamRead", {read_dealloc, read_traverse, read_clear});
  return state.loops.stream_read_type != nullptr &&
         make_type(module, method_spec, state.loops.read_method_type);
}

}  // namespace penstock::python
