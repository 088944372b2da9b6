// SPDX-License-Identifier: Apache-2.0
#include "byte_sending.hpp"

#include "buffer_view.hpp"
#include "channel_sending.hpp"
#include "exceptions.hpp"
#include "lent_bytes.hpp"
#include "penstock/bytes.hpp"
#include "timeouts.hpp"

namespace penstock::python {

namespace {

constexpr const char* kExpected = "data must be bytes, bytearray, or memoryview";

bool wrote(bool ok) {
  if (!ok) PyErr_NoMemory();
  return ok;
}

bool copy_buffer(PyObject* data, Message& message) {
  BufferView buffer;
  if (PyObject_CheckBuffer(data) == 0) {
    PyErr_SetString(PyExc_TypeError, kExpected);
    return false;
  }
  if (!buffer.get(data, PyBUF_SIMPLE)) {
    if (PyErr_ExceptionMatches(PyExc_BufferError) != 0) {
      PyErr_Format(PyExc_TypeError, "%s, and C-contiguous", kExpected);
    }
    return false;
  }
  if (buffer.bytes().size() > Message::kMaxBytes) {
    PyErr_Format(PyExc_ValueError, "more than %zu bytes can only be sent as bytes",
                 Message::kMaxBytes);
    return false;
  }
  return wrote(bytes::copy_into(message, buffer.bytes()));
}

/// Makes `message` of `data`. False: an exception is set.
bool fill(const ModuleState& state, PyObject* data, Message& message) {
  if (!PyBytes_CheckExact(data)) return copy_buffer(data, message);
  const auto size = static_cast<std::size_t>(PyBytes_GET_SIZE(data));
  if (size < bytes::kPinThreshold) {
    const auto* const from = reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(data));
    return wrote(bytes::copy_into(message, {from, size}));
  }
  Ref<wire::PinnedBytes> lent = LentBytes::lend(data, state.home);
  return wrote(lent && bytes::refer_to(message, std::move(lent)));
}

bool prepare(ChannelObject& self, PyObject* data, Message& message) {
  drop_returned(*self.state);
  if (!fill(*self.state, data, message)) return false;
  count_as_sender(self);
  return true;
}

/// What was refused dies here, with the GIL.
void forget(const ModuleState& state, Message& message) {
  const DropsWithGil here(state.home);
  message.clear();
}

/// One message more, of `data`. False: an exception is set.
bool send_one(ChannelObject& self, PyObject* data, std::int64_t deadline_ns) {
  Message message;
  const bool sent = prepare(self, data, message) && send_blocking(self, message, deadline_ns);
  if (!sent) forget(*self.state, message);
  return sent;
}

/// Tells in the exception that is set how many messages had been sent.
void add_count(Py_ssize_t sent) {
  const PyRef exception = take_exception();
  if (!exception) return;
  const PyRef count = PyRef::steal(PyLong_FromSsize_t(sent));
  if (!count || PyObject_SetAttrString(exception.get(), "sent", count.get()) != 0) PyErr_Clear();
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
}

}  // namespace

PyObject* byte_send(PyObject* object, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
  ChannelObject& self = as_channel(object);
  PyObject* data = nullptr;
  std::int64_t deadline_ns = kNoDeadline;
  if (!require_channel(self) ||
      !parse_send("send_bytes", "data", args, count, keywords, data, deadline_ns) ||
      !send_one(self, data, deadline_ns)) {
    return nullptr;
  }
  Py_RETURN_TRUE;
}

PyObject* byte_try_send(PyObject* object, PyObject* data) {
  ChannelObject& self = as_channel(object);
  if (!require_channel(self)) return nullptr;
  Message message;
  PyRef sent = PyRef::steal(prepare(self, data, message) ? send_now(self, message) : nullptr);
  if (sent.get() != Py_True) forget(*self.state, message);
  return sent.take();
}

PyObject* byte_send_many(PyObject* object, PyObject* const* args, Py_ssize_t count,
                         PyObject* keywords) {
  ChannelObject& self = as_channel(object);
  PyObject* chunks = nullptr;
  std::int64_t deadline_ns = kNoDeadline;
  if (!require_channel(self) ||
      !parse_send("send_many", "chunks", args, count, keywords, chunks, deadline_ns)) {
    return nullptr;
  }
  // Plain pointers: a thread that ends during a wait, because Python does, must not touch them.
  PyObject* const iterator = PyObject_GetIter(chunks);
  if (iterator == nullptr) return nullptr;
  Py_ssize_t sent = 0;
  for (bool ok = true; ok;) {
    PyObject* const chunk = PyIter_Next(iterator);
    ok = chunk != nullptr && send_one(self, chunk, deadline_ns);
    drop(chunk);
    if (ok) ++sent;
  }
  drop(iterator);
  if (PyErr_Occurred() == nullptr) return PyLong_FromSsize_t(sent);
  add_count(sent);
  return nullptr;
}

}  // namespace penstock::python
