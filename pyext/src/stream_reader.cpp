// SPDX-License-Identifier: Apache-2.0
#include "stream_reader.hpp"

#include <cstring>

namespace penstock::python {

namespace {

/// Whether asyncio's own function is what a class has by this name.
bool is_own(PyObject* type, PyObject* name, const char* module) {
  PyObject* const found = _PyType_Lookup(reinterpret_cast<PyTypeObject*>(type), name);  // Borrowed.
  if (found == nullptr || PyFunction_Check(found) == 0) return false;
  PyObject* const globals = PyFunction_GET_GLOBALS(found);
  PyObject* const of_module = PyDict_GetItemString(globals, "__name__");
  return of_module != nullptr && PyUnicode_Check(of_module) != 0 &&
         PyUnicode_CompareWithASCIIString(of_module, module) == 0;
}

/// Of a plain instance.
PyRef attribute(PyObject* object, PyObject* name) {
  return PyRef::steal(PyObject_GetAttr(object, name));
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
  const PyRef feed_data = PyRef::steal(PyUnicode_InternFromString("feed_data"));
  const PyRef wake = PyRef::steal(PyUnicode_InternFromString("_wakeup_waiter"));
  if (!data_received || !feed_data || !wake) {
    PyErr_Clear();
    return false;
  }
  constexpr const char* kStreams = "asyncio.streams";
  if (!is_own(library.stream_reader_protocol, data_received.get(), kStreams) ||
      !is_own(library.stream_reader, feed_data.get(), kStreams) ||
      !is_own(library.stream_reader, wake.get(), kStreams)) {
    return false;
  }
  // An instance may have its own.
  const PyRef bound = attribute(protocol, data_received.get());
  if (!bound) PyErr_Clear();
  return bound && PyMethod_Check(bound.get()) != 0 &&
         PyMethod_GET_FUNCTION(bound.get()) ==
             _PyType_Lookup(Py_TYPE(protocol), data_received.get());
}

StreamReaderFeed::StreamReaderFeed(const ModuleState& state, PyObject* protocol,
                                   PyObject* transport)
    : state_(state) {
  const ModuleState::Names& names = state.names;
  const PyRef reference = attribute(protocol, names.stream_reader);
  if (!reference) return;
  PyRef reader = target_of(reference.get());
  if (!reader || reinterpret_cast<PyObject*>(Py_TYPE(reader.get())) != state.loops.stream_reader) {
    return;
  }
  const PyRef known = attribute(reader.get(), names.transport);
  const PyRef eof = known ? attribute(reader.get(), names.eof) : PyRef();
  PyRef buffer = eof ? attribute(reader.get(), names.buffer) : PyRef();
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

bool StreamReaderFeed::wake(bool* is_full) {
  const ModuleState::Names& names = state_.names;
  PyObject* const reader = reader_.get();
  const PyRef waiter = attribute(reader, names.waiter);
  if (!waiter) return false;
  if (waiter.get() != Py_None) {
    if (PyObject_SetAttr(reader, names.waiter, Py_None) != 0) return false;
    const PyRef cancelled =
        PyRef::steal(PyObject_CallMethodNoArgs(waiter.get(), names.is_cancelled));
    const int is_cancelled = cancelled ? PyObject_IsTrue(cancelled.get()) : -1;
    if (is_cancelled < 0) return false;
    if (is_cancelled == 0 &&
        !PyRef::steal(PyObject_CallMethodOneArg(waiter.get(), names.set_result, Py_None))) {
      return false;
    }
  }
  const PyRef limit = attribute(reader, names.limit);
  const Py_ssize_t bytes = limit ? PyNumber_AsSsize_t(limit.get(), nullptr) : -1;
  if (bytes == -1 && PyErr_Occurred() != nullptr) return false;
  *is_full = PyByteArray_GET_SIZE(buffer_.get()) / 2 > bytes ||
             (PyByteArray_GET_SIZE(buffer_.get()) / 2 == bytes &&
              PyByteArray_GET_SIZE(buffer_.get()) % 2 != 0);
  if (!*is_full) return true;
  const PyRef paused = attribute(reader, names.paused);
  const int is_paused = paused ? PyObject_IsTrue(paused.get()) : -1;
  *is_full = is_paused == 0;
  return is_paused >= 0;
}

bool StreamReaderFeed::set_paused() {
  return PyObject_SetAttr(reader_.get(), state_.names.paused, Py_True) == 0;
}

}  // namespace penstock::python
