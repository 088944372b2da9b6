// SPDX-License-Identifier: Apache-2.0
#include "stream_reader.hpp"

#include <cstring>

#include "attributes.hpp"
#include "set_aside.hpp"

namespace penstock::python {

namespace {

/// Whether asyncio's own function is what a class has by this name.
bool is_own(PyObject* type, PyObject* name) {
  PyObject* const found = _PyType_Lookup(reinterpret_cast<PyTypeObject*>(type), name);  // Borrowed.
  if (found == nullptr || PyFunction_Check(found) == 0) return false;
  PyObject* const globals = PyFunction_GET_GLOBALS(found);
  PyObject* const of_module = PyDict_GetItemString(globals, "__name__");
  return of_module != nullptr && PyUnicode_Check(of_module) != 0 &&
         PyUnicode_CompareWithASCIIString(of_module, "asyncio.streams") == 0;
}

/// What a weak reference refers to, or empty.
PyRef target_of(PyObject* reference) {
  if (PyWeakref_CheckRef(reference) == 0) return {};
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* target = nullptr;
  (void)PyWeakref_GetRef(reference, &target);
  return PyRef::steal(target);
#else
  PyObject* const target = PyWeakref_GetObject(reference);
  return PyRef::borrow(target == Py_None ? nullptr : target);
#endif
}

}  // namespace

bool is_plain_stream_protocol(const LoopLibrary& library, PyObject* protocol) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(protocol)) != library.stream_reader_protocol) {
    return false;
  }
  const PyRef data_received = PyRef::steal(PyUnicode_InternFromString("data_received"));
  if (!data_received) {
    PyErr_Clear();
    return false;
  }
  if (!is_own(library.stream_reader_protocol, data_received.get())) return false;
  for (const char* const name :
       {"feed_data", "_wakeup_waiter", "read", "_wait_for_data", "_maybe_resume_transport"}) {
    const PyRef method = PyRef::steal(PyUnicode_InternFromString(name));
    if (!method) PyErr_Clear();
    if (!method || !is_own(library.stream_reader, method.get())) return false;
  }
  // An instance may have its own.
  const PyRef bound = PyRef::steal(PyObject_GetAttr(protocol, data_received.get()));
  if (!bound) PyErr_Clear();
  return bound && PyMethod_Check(bound.get()) != 0 &&
         PyMethod_GET_FUNCTION(bound.get()) ==
             _PyType_Lookup(Py_TYPE(protocol), data_received.get());
}

PyRef reader_of(const ModuleState& state, PyObject* protocol) {
  const PyRef reference = Attributes(protocol).get(state.names.stream_reader);
  PyRef reader = reference ? target_of(reference.get()) : PyRef();
  if (!reader) return {};
  PyObject* const type = reinterpret_cast<PyObject*>(Py_TYPE(reader.get()));
  const bool is_known = type == state.loops.fast_stream_reader || type == state.loops.stream_reader;
  return is_known ? std::move(reader) : PyRef();
}

StreamReaderFeed::StreamReaderFeed(const ModuleState& state, PyObject* protocol,
                                   PyObject* transport)
    : state_(state) {
  const ModuleState::Names& names = state.names;
  PyRef reader = reader_of(state, protocol);
  if (!reader) return;
  const Attributes attributes(reader.get());
  const PyRef known = attributes.get(names.transport);
  const PyRef eof = known ? attributes.get(names.eof) : PyRef();
  PyRef buffer = eof ? attributes.get(names.buffer) : PyRef();
  if (!buffer || known.get() != transport || eof.get() != Py_False ||
      PyByteArray_CheckExact(buffer.get()) == 0) {
    return;
  }
  reader_ = std::move(reader);
  buffer_ = std::move(buffer);
}

bool StreamReaderFeed::append(std::span<const char> data) {
  char* const place = reserve(data.size());
  if (place == nullptr) return false;
  std::memcpy(place, data.data(), data.size());
  return true;
}

char* StreamReaderFeed::reserve(std::size_t size) {
  size_ = PyByteArray_GET_SIZE(buffer_.get());
  if (PyByteArray_Resize(buffer_.get(), size_ + static_cast<Py_ssize_t>(size)) != 0) return nullptr;
  return PyByteArray_AS_STRING(buffer_.get()) + size_;
}

bool StreamReaderFeed::commit(std::size_t size) {
  return PyByteArray_Resize(buffer_.get(), size_ + static_cast<Py_ssize_t>(size)) == 0;
}

/// Whether set_result() failed because nobody waits any more; its exception stays set if not.
bool StreamReaderFeed::is_cancelled(PyObject* waiter) const {
  PyRef cancelled;
  {
    const SetAside exception;
    cancelled = PyRef::steal(PyObject_CallMethodNoArgs(waiter, state_.names.is_cancelled));
    if (!cancelled) PyErr_Clear();
  }
  if (cancelled.get() == Py_True) PyErr_Clear();
  return cancelled.get() == Py_True;
}

/// Whether there is more than twice the limit: 1, 0, or -1: an exception is set.
int StreamReaderFeed::exceeds_twice(PyObject* limit) const {
  const Py_ssize_t size = PyByteArray_GET_SIZE(buffer_.get());
  if (PyLong_CheckExact(limit)) {
    int overflow = 0;
    const long long bytes = PyLong_AsLongLongAndOverflow(limit, &overflow);
    if (overflow == 0) return size - size / 2 > bytes ? 1 : 0;
  }
  const PyRef there = PyRef::steal(PyLong_FromSsize_t(size));
  const PyRef two = PyRef::steal(PyLong_FromLong(2));
  const PyRef twice = there && two ? PyRef::steal(PyNumber_Multiply(two.get(), limit)) : PyRef();
  return twice ? PyObject_RichCompareBool(there.get(), twice.get(), Py_GT) : -1;
}

bool StreamReaderFeed::wake(bool* is_full) {
  const ModuleState::Names& names = state_.names;
  const Attributes reader(reader_.get());
  const PyRef waiter = reader.get(names.waiter);
  if (!waiter) return false;
  if (waiter.get() != Py_None) {
    if (!reader.set(names.waiter, Py_None)) return false;
    if (!PyRef::steal(PyObject_CallMethodOneArg(waiter.get(), names.set_result, Py_None)) &&
        !is_cancelled(waiter.get())) {
      return false;
    }
  }
  const PyRef limit = reader.get(names.limit);
  const int exceeds = limit ? exceeds_twice(limit.get()) : -1;
  if (exceeds < 0) return false;
  *is_full = exceeds > 0;
  if (!*is_full) return true;
  const int is_paused = reader.is_true(names.paused);
  *is_full = is_paused == 0;
  return is_paused >= 0;
}

bool StreamReaderFeed::set_paused() {
  return Attributes(reader_.get()).set(state_.names.paused, Py_True);
}

}  // namespace penstock::python
