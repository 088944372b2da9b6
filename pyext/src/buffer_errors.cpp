// SPDX-License-Identifier: Apache-2.0
#include "buffer_errors.hpp"

#include "decode.hpp"

namespace penstock::python {

namespace {

/// Raises `type(text)` with attributes of these names and values.
void raise_with(PyObject* type, const PyRef& text,
                std::initializer_list<std::pair<const char*, const PyRef*>> attributes) {
  if (!text) return;
  const PyRef exception = PyRef::steal(PyObject_CallOneArg(type, text.get()));
  if (!exception) return;
  for (const auto& [name, value] : attributes) {
    if (!*value || PyObject_SetAttrString(exception.get(), name, value->get()) != 0) return;
  }
  PyErr_SetObject(type, exception.get());
}

void raise_aborted(ModuleState& state, const Message* message) {
  const PyRef reason =
      message != nullptr ? PyRef::steal(decode(state, *message)) : PyRef::borrow(Py_None);
  if (!reason) return;
  const PyRef text =
      PyRef::steal(PyUnicode_FromFormat("the writer gave up before the end: %R", reason.get()));
  raise_with(state.buffer_aborted, text, {{"reason", &reason}});
}

void raise_truncated(ModuleState& state, std::uint64_t expected, std::uint64_t received) {
  const PyRef reason = PyRef::steal(PyUnicode_FromString("truncated"));
  const PyRef expected_bytes = PyRef::steal(PyLong_FromUnsignedLongLong(expected));
  const PyRef received_bytes = PyRef::steal(PyLong_FromUnsignedLongLong(received));
  const PyRef text = PyRef::steal(PyUnicode_FromFormat("closed after %llu of %llu bytes",
                                                       static_cast<unsigned long long>(received),
                                                       static_cast<unsigned long long>(expected)));
  raise_with(state.body_truncated, text,
             {{"reason", &reason}, {"expected", &expected_bytes}, {"received", &received_bytes}});
}

/// An exception class whose attributes are None unless set on an instance.
bool add_error(PyObject* module, PyObject*& slot, PyObject* base, const char* name,
               const char* text, std::initializer_list<const char*> attributes) {
  const PyRef members = PyRef::steal(PyDict_New());
  if (!members) return false;
  for (const char* const attribute : attributes) {
    if (PyDict_SetItemString(members.get(), attribute, Py_None) != 0) return false;
  }
  slot = PyErr_NewExceptionWithDoc(name, text, base, members.get());
  return slot != nullptr && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(slot)) == 0;
}

}  // namespace

void raise_early_end(ModuleState& state, const ByteStream& stream, const EarlyEnd& early) {
  if (early.end == ByteStream::End::truncated) {
    raise_truncated(state, stream.options().content_length, early.received);
  } else {
    raise_aborted(state, early.reason);
  }
}

bool add_buffer_errors(PyObject* module, ModuleState& state) {
  return add_error(
             module, state.buffer_aborted, PyExc_ConnectionAbortedError, "erlang.BufferAborted",
             "The writer of a buffer gave up or died before the end; see reason.", {"reason"}) &&
         add_error(module, state.body_truncated, state.buffer_aborted, "erlang.BodyTruncated",
                   "A buffer was closed before as many bytes as announced had come.",
                   {"expected", "received"});
}

}  // namespace penstock::python
