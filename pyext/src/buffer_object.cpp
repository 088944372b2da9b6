// SPDX-License-Identifier: Apache-2.0
#include "buffer_object.hpp"

#include <structmember.h>

#include <algorithm>

#include "arguments.hpp"
#include "buffer_coroutines.hpp"
#include "buffer_piece.hpp"
#include "buffer_position.hpp"
#include "buffer_read.hpp"
#include "buffer_reading.hpp"
#include "buffer_view.hpp"
#include "reader_claim.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

/// Shorter views are copies, and so are those of a small part of what they would keep alive.
constexpr std::uint64_t kWorthKeeping = 4096;
constexpr std::uint64_t kMaxWaste = 4;

std::uint64_t unread(const ByteStream& stream) noexcept {
  const ByteStream::Progress progress = stream.progress();
  return progress.written - progress.read;
}

// Views
// -------------------------------------------------------------------------------------------

/// An object that exports what is unread now.
PyObject* exporter_of_unread(const BufferObject& self) {
  if (!may_read(self)) return nullptr;
  HeldReading reading(*self.stream);
  std::uint64_t const count = reading->available();
  if (count >= kWorthKeeping) {
    ByteStream::Reading::Piece piece = reading->piece(static_cast<std::size_t>(count));
    if (piece.data != nullptr && piece.kept <= kMaxWaste * count) {
      return new_piece(*self.state, std::move(piece), static_cast<Py_ssize_t>(count));
    }
  }
  return copy_bytes(*reading, count);
}

int buffer_get_buffer(PyObject* object, Py_buffer* view, int flags) {
  view->obj = nullptr;
  if ((flags & PyBUF_WRITABLE) == PyBUF_WRITABLE) {
    PyErr_SetString(PyExc_BufferError, "a PyBuffer cannot be written to");
    return -1;
  }
  const PyRef exporter = PyRef::steal(exporter_of_unread(as_buffer(object)));
  return exporter ? PyObject_GetBuffer(exporter.get(), view, flags) : -1;
}

// State
// -------------------------------------------------------------------------------------------

PyObject* always_true(PyObject*, PyObject*) { return PyBool_FromLong(1); }
PyObject* always_false(PyObject*, PyObject*) { return PyBool_FromLong(0); }
PyObject* nothing(PyObject*, PyObject*) { Py_RETURN_NONE; }
PyObject* itself(PyObject* object, PyObject*) { return PyRef::borrow(object).take(); }

PyObject* buffer_seekable(PyObject* object, PyObject*) {
  return PyBool_FromLong(as_buffer(object).stream->options().retains ? 1 : 0);
}

PyObject* buffer_fileno(PyObject* object, PyObject*) {
  const PyRef io = PyRef::steal(PyImport_ImportModule("io"));
  if (!io) return nullptr;
  PyObject* const name = as_buffer(object).state->names.unsupported_operation;
  const PyRef type = PyRef::steal(PyObject_GetAttr(io.get(), name));
  if (type) PyErr_SetString(type.get(), "a PyBuffer has no file descriptor");
  return nullptr;
}

PyObject* buffer_readable_amount(PyObject* object, PyObject*) {
  return PyLong_FromUnsignedLongLong(unread(*as_buffer(object).stream));
}

Py_ssize_t buffer_length(PyObject* object) {
  return static_cast<Py_ssize_t>(
      std::min<std::uint64_t>(unread(*as_buffer(object).stream), PY_SSIZE_T_MAX));
}

PyObject* buffer_close(PyObject* object, PyObject*) {
  as_buffer(object).stream->close_by_reader();
  Py_RETURN_NONE;
}

PyObject* buffer_exit(PyObject* object, PyObject* const*, Py_ssize_t) {
  return buffer_close(object, nullptr);
}

PyObject* buffer_closed(PyObject* object, void*) {
  return PyBool_FromLong(as_buffer(object).stream->is_closed_by_reader() ? 1 : 0);
}

PyObject* buffer_repr(PyObject* object) {
  const ByteStream& stream = *as_buffer(object).stream;
  std::uint64_t const count = unread(stream);
  return PyUnicode_FromFormat("<erlang.PyBuffer at %p, %llu bytes unread%s>", &stream,
                              static_cast<unsigned long long>(count),
                              stream.is_closed() ? ", closed" : "");
}

Py_hash_t buffer_hash(PyObject* object) {
  // Streams are aligned to two cache lines: the low bits say nothing.
  return static_cast<Py_hash_t>(reinterpret_cast<std::uintptr_t>(as_buffer(object).stream) >> 7);
}

PyObject* buffer_compare(PyObject* left, PyObject* right, int operation) {
  const ByteStream* const other = stream_of(*as_buffer(left).state, right);
  if (other == nullptr || (operation != Py_EQ && operation != Py_NE)) Py_RETURN_NOTIMPLEMENTED;
  return PyBool_FromLong((as_buffer(left).stream == other) == (operation == Py_EQ) ? 1 : 0);
}

// Life
// ---------------------------------------------------------------------------------------------

/// The announced length of _test_create(): that of `data` if none is given, unknown if negative.
bool parse_length(PyObject* object, std::size_t size, std::uint64_t& content_length) {
  content_length = size;
  Py_ssize_t given = -1;
  if (object == nullptr || object == Py_None) return true;
  if (!optional_size(object, given)) return false;
  content_length = given < 0 ? ByteStream::kUnknown : static_cast<std::uint64_t>(given);
  return true;
}

PyObject* buffer_test_create(PyObject* type, PyObject* args, PyObject* keywords) {
  BufferView data;
  PyObject* length = nullptr;
  static const char* names[] = {"data", "content_length", nullptr};
  if (PyArg_ParseTupleAndKeywords(args, keywords, "y*|O:_test_create", const_cast<char**>(names),
                                  static_cast<Py_buffer*>(&data), &length) == 0) {
    return nullptr;
  }
  PyObject* const module =
      PyType_GetModuleByDef(reinterpret_cast<PyTypeObject*>(type), &native_module);
  const auto size = static_cast<std::size_t>(data.len);
  ByteStream::Options options;
  if (module == nullptr || !parse_length(length, size, options.content_length)) return nullptr;
  Ref<ByteStream> stream = ByteStream::create(options);
  if (!stream) return PyErr_NoMemory();
  switch (stream->write(data.bytes())) {
    case Status::ok:
      return new_buffer(state_of(module), std::move(stream));
    case Status::too_long:
      PyErr_SetString(PyExc_ValueError, "data is longer than content_length");
      return nullptr;
    default:
      return PyErr_NoMemory();
  }
}

void buffer_dealloc(PyObject* object) {
  BufferObject& self = as_buffer(object);
  if (self.weak_references != nullptr) PyObject_ClearWeakRefs(object);
  end_reading(self);
  self.stream->remove_reader();
  self.stream->release();
  free_instance(object);
}

template <class Function>
PyCFunction method(Function function) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

constexpr int kKeywords = METH_FASTCALL | METH_KEYWORDS;

// clang-format off
PyMethodDef methods[] = {
    {"read", method(buffer_read), kKeywords,
     "read(size=-1)\n--\n\n"
     "Take size bytes, or everything to the end if size is negative or None; b'' is the end.\n\n"
     "Blocks without the GIL. If the length of the whole is not known, a sized read returns what is\n"
     "there, one byte at least. Raises BufferAborted, BodyTruncated, and then takes nothing."},
    {"read1", method(buffer_read1), kKeywords,
     "read1(size=-1)\n--\n\n"
     "Take at most size bytes of what is there; block only while that is nothing."},
    {"read_nonblock", method(buffer_read_nonblock), kKeywords,
     "read_nonblock(size=-1)\n--\n\n"
     "Take at most size bytes of what is there; b'' if that is nothing. Never blocks."},
    {"readall", buffer_readall, METH_NOARGS,
     "readall()\n--\n\nTake everything to the end, as read()."},
    {"readinto", buffer_readinto, METH_O,
     "readinto(buffer, /)\n--\n\nread(len(buffer)) into writable memory; return how many bytes."},
    {"readinto1", buffer_readinto1, METH_O,
     "readinto1(buffer, /)\n--\n\nread1(len(buffer)) into writable memory; return how many bytes."},
    {"readline", method(buffer_readline), METH_FASTCALL,
     "readline(size=-1, /)\n--\n\n"
     "Take a line with its newline, or size bytes of it, or the rest before the end. Blocks."},
    {"readlines", method(buffer_readlines), kKeywords,
     "readlines(hint=-1)\n--\n\n"
     "Return a list of lines: all to the end, or as many as make up hint bytes. Blocks."},
    {"aread", method(buffer_aread), kKeywords,
     "aread(size=-1)\n--\n\n"
     "read() as a coroutine that waits on the running asyncio loop. Cancelling it loses nothing."},
    {"aread1", method(buffer_aread1), kKeywords,
     "aread1(size=-1)\n--\n\nread1() as a coroutine."},
    {"areadline", method(buffer_areadline), kKeywords,
     "areadline(size=-1)\n--\n\nreadline() as a coroutine; so is each step of async for."},
    {"peek", method(buffer_peek), kKeywords,
     "peek(size=0)\n--\n\n"
     "Return what is there, at most size (0: 8192) bytes, without taking it. Never blocks."},
    {"readable_amount", buffer_readable_amount, METH_NOARGS,
     "readable_amount()\n--\n\nReturn how many bytes are there; the same as len()."},
    {"at_eof", buffer_at_eof, METH_NOARGS,
     "at_eof()\n--\n\n"
     "Whether everything has been read, and no more will come. Raises as read() if the writer gave\n"
     "up and nothing is left."},
    {"seek", method(buffer_seek), kKeywords,
     "seek(offset, whence=0)\n--\n\n"
     "Go to a position that has been written (and is retained), and return it.\n\n"
     "whence is 0 (the beginning), 1 (here) or 2 (the end, once that is known). Raises ValueError."},
    {"tell", buffer_tell, METH_NOARGS,
     "tell()\n--\n\nReturn the read position: bytes from the beginning."},
    {"find", method(buffer_find), kKeywords,
     "find(sub, start=0, end=None)\n--\n\n"
     "Return where sub, bytes or a byte's number, is first found in what is there, or -1.\n\n"
     "All places are relative to the read position. Never blocks."},
    {"readable", always_true, METH_NOARGS, "readable()\n--\n\nTrue."},
    {"writable", always_false, METH_NOARGS, "writable()\n--\n\nFalse."},
    {"seekable", buffer_seekable, METH_NOARGS,
     "seekable()\n--\n\nWhether what has been read is retained, so that seek() can go back."},
    {"isatty", always_false, METH_NOARGS, "isatty()\n--\n\nFalse."},
    {"flush", nothing, METH_NOARGS, "flush()\n--\n\nDo nothing."},
    {"fileno", buffer_fileno, METH_NOARGS, "fileno()\n--\n\nRaise io.UnsupportedOperation."},
    {"close", buffer_close, METH_NOARGS,
     "close()\n--\n\n"
     "Refuse what would still be written. What is there can still be read. Idempotent."},
    {"_test_create", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(buffer_test_create)),
     METH_VARARGS | METH_KEYWORDS | METH_CLASS, "A PyBuffer that holds data. Tests only."},
    {"__enter__", itself, METH_NOARGS, nullptr},
    {"__exit__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(buffer_exit)), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"closed", buffer_closed, nullptr, "Whether close() was called here, in Python.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(BufferObject, weak_references), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(buffer_dealloc)},
    {Py_tp_repr, reinterpret_cast<void*>(buffer_repr)},
    {Py_tp_hash, reinterpret_cast<void*>(buffer_hash)},
    {Py_tp_richcompare, reinterpret_cast<void*>(buffer_compare)},
    {Py_tp_iter, reinterpret_cast<void*>(PyObject_SelfIter)},
    {Py_tp_iternext, reinterpret_cast<void*>(buffer_next)},
    {Py_am_aiter, reinterpret_cast<void*>(PyObject_SelfIter)},
    {Py_am_anext, reinterpret_cast<void*>(buffer_anext)},
    {Py_sq_length, reinterpret_cast<void*>(buffer_length)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(buffer_get_buffer)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_members, members},
    {Py_tp_doc, const_cast<char*>(
        "Bytes that Erlang writes, read as a binary file; safe to share between threads and loops.\n\n"
        "len() is what is there; so it is false while nothing is. A memoryview of it shows what is\n"
        "unread at that moment, takes nothing, and stays valid. Iterating takes lines.")},
    {0, nullptr},
};
// clang-format on

PyType_Spec spec = {"erlang.PyBuffer", sizeof(BufferObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

}  // namespace

PyObject* new_buffer(ModuleState& state, Ref<ByteStream> stream) {
  BufferObject* const self = PyObject_New(BufferObject, state.buffer_type);
  if (self == nullptr) return nullptr;
  stream->add_reader();
  self->state = &state;
  self->stream = stream.take();
  self->weak_references = nullptr;
  self->is_reader = false;
  return reinterpret_cast<PyObject*>(self);
}

ByteStream* stream_of(const ModuleState& state, PyObject* object) noexcept {
  return Py_IS_TYPE(object, state.buffer_type) ? as_buffer(object).stream : nullptr;
}

bool add_buffer_type(PyObject* module, ModuleState& state) {
  return add_type(module, spec, state.buffer_type) && add_piece_type(module, state);
}

}  // namespace penstock::python
