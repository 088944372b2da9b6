// SPDX-License-Identifier: Apache-2.0
#include "byte_receiving.hpp"

#include <cstring>

#include "byte_view.hpp"
#include "channel_iterator.hpp"
#include "channel_receiving.hpp"
#include "gil.hpp"
#include "lent_bytes.hpp"
#include "penstock/bytes.hpp"
#include "timeouts.hpp"
#include "utf8.hpp"

namespace penstock::python {

namespace {

/// Copies from this size on are made without the GIL. A smaller one holds others up for less than
/// 0.1 ms, whereas getting the GIL back from a busy thread takes up to 5 ms: measured beside one,
/// giving it away for 256 KiB halves the throughput, for 1 MiB others gain more than is lost.
constexpr std::size_t kCopyWithoutGil = 1024 * 1024;
constexpr Py_ssize_t kDefaultCount = 64;

/// The message as bytes: copied once, or the very object that Python sent.
PyObject* received_bytes(ModuleState& state, Channel& channel, Status status, Message& message) {
  if (status != Status::ok) {
    raise_status(state, channel, status);
    return nullptr;
  }
  const bytes::View found = bytes::view(message);
  if (found.pinned == nullptr) return copied_bytes(found.bytes);
  PyObject* const lent = LentBytes::object_of(*found.pinned, state.home);
  PyRef result = lent != nullptr ? PyRef::borrow(lent) : PyRef::steal(copied_bytes(found.bytes));
  const DropsWithGil here(state.home);
  message.clear();
  return result.take();
}

PyObject* received_view(ModuleState& state, Channel& channel, Status status, Message& message) {
  if (status == Status::ok) return new_byte_view(state, channel, message);
  raise_status(state, channel, status);
  return nullptr;
}

constexpr AwaitableOperation kAsyncReceive =
    receiving<received_bytes>("ByteChannel.async_receive_bytes");
constexpr AwaitableOperation kAsyncReceiveView =
    receiving<received_view>("ByteChannel.async_receive_view");
constexpr AwaitableOperation kAsyncReceiveInPlace =
    receiving<received_view, AtEnd::raise_closed, true>("ByteChannel.async_receive_view");
constexpr AwaitableOperation kAnext =
    receiving<received_bytes, AtEnd::stop_iteration>("ByteChannel.__anext__");

/// False: an exception is set.
bool append_message(const ChannelObject& self, PyObject* list, Status status, Message& message) {
  PyObject* const data = received_bytes(*self.state, *self.channel, status, message);
  const bool ok = data != nullptr && PyList_Append(list, data) == 0;
  drop(data);
  return ok;
}

/// Appends what is queued to `list` until it has `max_count` elements. False: an exception is set.
bool take_queued(const ChannelObject& self, PyObject* list, Py_ssize_t max_count) {
  while (PyList_GET_SIZE(list) < max_count) {
    Message message;
    // What else than ok comes up is for the next receive: nothing is lost by it.
    if (self.channel->try_receive(message) != Status::ok) return true;
    if (!append_message(self, list, Status::ok, message)) return false;
  }
  return true;
}

}  // namespace

PyObject* copied_bytes(std::span<const std::uint8_t> from) {
  if (from.size() < kCopyWithoutGil) return bytes_of(from);
  // A plain pointer: a thread that ends here, because Python does, must not touch it any more.
  PyObject* const result = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(from.size()));
  if (result == nullptr) return nullptr;
  {
    const GilRelease released;
    std::memcpy(PyBytes_AS_STRING(result), from.data(), from.size());
  }
  return result;
}

PyObject* byte_receive(PyObject* object, PyObject* const* args, Py_ssize_t count,
                       PyObject* keywords) {
  return receive_as(received_bytes, "receive_bytes", object, args, count, keywords);
}

PyObject* byte_try_receive(PyObject* object, PyObject*) {
  return try_receive_as(received_bytes, object);
}

PyObject* byte_receive_many(PyObject* object, PyObject* const* args, Py_ssize_t count,
                            PyObject* keywords) {
  const ChannelObject& self = as_channel(object);
  Py_ssize_t max_count = kDefaultCount;
  std::int64_t deadline_ns = kNoDeadline;
  if (!require_channel(self) ||
      !parse_receive_many("receive_many", args, count, keywords, max_count, deadline_ns)) {
    return nullptr;
  }
  Message message;
  Status status = Status::empty;
  if (!receive_blocking(*self.state, *self.channel, message, deadline_ns, status)) return nullptr;
  if (status == Status::empty) {
    PyErr_SetString(PyExc_TimeoutError, "channel receive timeout");
    return nullptr;
  }
  // Plain pointers, as in copied_bytes().
  PyObject* const list = PyList_New(0);
  if (list == nullptr) return nullptr;
  if (append_message(self, list, status, message) && take_queued(self, list, max_count)) {
    return list;
  }
  drop(list);
  return nullptr;
}

PyObject* byte_receive_view(PyObject* object, PyObject* const* args, Py_ssize_t count,
                            PyObject* keywords) {
  std::int64_t deadline_ns = kNoDeadline;
  bool in_place = false;
  if (!require_channel(as_channel(object)) ||
      !parse_receive_view("receive_view", args, count, keywords, in_place, deadline_ns)) {
    return nullptr;
  }
  Message message;
  if (in_place) message.take_in_place();
  return receive_into(message, received_view, object, deadline_ns);
}

PyObject* byte_async_receive(PyObject* object, PyObject*) {
  return receive_async(kAsyncReceive, object);
}

PyObject* byte_async_receive_view(PyObject* object, PyObject* const* args, Py_ssize_t count,
                                  PyObject* keywords) {
  bool in_place = false;
  if (!parse_async_receive_view("async_receive_view", args, count, keywords, in_place)) {
    return nullptr;
  }
  return receive_async(in_place ? kAsyncReceiveInPlace : kAsyncReceiveView, object);
}

PyObject* byte_anext(PyObject* object) { return receive_async(kAnext, object); }

PyObject* byte_iter(PyObject* object) {
  if (!require_channel(as_channel(object))) return nullptr;
  return new_iterator(*as_channel(object).state, object, received_bytes);
}

}  // namespace penstock::python
