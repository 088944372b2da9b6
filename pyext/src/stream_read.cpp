// SPDX-License-Identifier: Apache-2.0
#include "stream_read.hpp"

#include <algorithm>
#include <utility>
#include <vector>

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

void cancel(StreamRead& self) {
  self.is_done = true;
  stop_waiting(self);
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
  } else {
    PyErr_SetObject(exception.get(), nullptr);
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
  cancel(self);
  return PYGEN_ERROR;
}

PySendResult resume(StreamRead& self, PyObject** result) {
  const ModuleState::Names& names = self.state->names;
  const Attributes reader(self.reader);
  const bool has_waited = self.future != nullptr;
  if (!(has_waited ? end_wait(self) : check_exception(reader.get(names.exception)))) {
    return fail(self);
  }
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
  self.is_done = true;
  *result = bytes.take();
  return PYGEN_RETURN;
}

const char* name_of(const StreamRead&) { return "StreamReader.read"; }

using Methods = Coroutine<StreamRead, resume, cancel, name_of>;

// Life
// ---------------------------------------------------------------------------------------------

int read_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(as_read(object).reader);
  Py_VISIT(as_read(object).future);
  return 0;
}

int read_clear(PyObject* object) {
  StreamRead& self = as_read(object);
  if (self.reader == nullptr) return 0;
  cancel(self);
  drop(std::exchange(self.reader, nullptr));
  return 0;
}

void read_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  (void)read_clear(object);
  free_instance(object);
}

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(read_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(read_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(read_clear)},
    {Py_tp_iter, reinterpret_cast<void*>(Methods::itself)},
    {Py_tp_iternext, reinterpret_cast<void*>(Methods::next)},
    {Py_am_await, reinterpret_cast<void*>(Methods::itself)},
    {Py_am_send, reinterpret_cast<void*>(Methods::send)},
    {Py_tp_methods, Methods::methods},
    {Py_tp_getset, Methods::properties},
    {0, nullptr},
};

PyType_Spec spec = {"erlang.StreamRead", sizeof(StreamRead), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                        Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

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

// The reader
// ---------------------------------------------------------------------------------------------

/// All that is not `read(n)` of a number of bytes is asyncio's own.
PyObject* asyncio_read(const ModuleState& state, PyObject* self, PyObject* const* args,
                       Py_ssize_t count, PyObject* keywords) {
  const PyRef function = PyRef::steal(PyObject_GetAttrString(state.loops.stream_reader, "read"));
  if (!function) return nullptr;
  std::vector<PyObject*> all{self};
  const Py_ssize_t total = count + (keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords));
  all.insert(all.end(), args, args + total);
  return PyObject_Vectorcall(function.get(), all.data(), static_cast<std::size_t>(count + 1),
                             keywords);
}

PyObject* read(PyObject* self, PyTypeObject* type, PyObject* const* args, Py_ssize_t count,
               PyObject* keywords) {
  ModuleState& state = **static_cast<ModuleState**>(PyType_GetModuleState(type));
  if (count == 1 && keywords == nullptr && PyLong_CheckExact(args[0])) {
    const Py_ssize_t limit = PyLong_AsSsize_t(args[0]);
    if (limit > 0) return new_read(state, self, limit);
    PyErr_Clear();
  }
  return asyncio_read(state, self, args, count, keywords);
}

PyMethodDef reader_methods[] = {
    {"read", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(read)),
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot reader_slots[] = {
    {Py_tp_methods, reader_methods},
    {0, nullptr},
};

// Instances have no state: a type beside asyncio.StreamReader among the bases of another.
PyType_Spec reader_spec = {"erlang._native._StreamReading", sizeof(PyObject), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
                           reader_slots};

}  // namespace

bool give_fast_read(const LoopLibrary& library, PyObject* reader, PyObject* loop) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(reader)) != library.stream_reader) return true;
  const PyRef of_reader = PyRef::steal(PyObject_GetAttrString(reader, "_loop"));
  if (!of_reader) return false;
  return of_reader.get() != loop ||
         PyObject_SetAttrString(reader, "__class__", library.fast_stream_reader) == 0;
}

bool add_stream_read_types(PyObject* module, ModuleState& state) {
  return make_type(module, spec, state.loops.stream_read_type) &&
         add_type(module, reader_spec, state.loops.stream_reading_type);
}

}  // namespace penstock::python
