// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "awaitable.hpp"
#include "channel_base.hpp"

/// How messages leave a channel, whatever they are made of: at once, after a wait of this thread,
/// by an iterator, by a coroutine.
namespace penstock::python {

/// What a receive that ended with `status` returns: the message as an object, or nullptr and an
/// exception (the channel is closed, MemoryError, what decoding raised). Not for Status::empty.
using Received = PyObject* (*)(ModuleState& state, Channel& channel, Status status,
                               Message& message);

/// Takes the oldest message, or blocks for it until `deadline_ns`. False: an exception is set.
[[nodiscard]] bool receive_blocking(ModuleState& state, Channel& channel, Message& message,
                                    std::int64_t deadline_ns, Status& status);

/// Methods (timeout=None, *, timeout_ms=None), and without arguments.
[[nodiscard]] PyObject* receive_as(Received received, const char* function, PyObject* object,
                                   PyObject* const* args, Py_ssize_t count, PyObject* keywords);
/// The same, for arguments that were looked at, into an empty message.
[[nodiscard]] PyObject* receive_into(Message& message, Received received, PyObject* object,
                                     std::int64_t deadline_ns);
[[nodiscard]] PyObject* try_receive_as(Received received, PyObject* object);

// Coroutines
// ---------------------------------------------------------------------------------------

/// What happens when the channel is closed and drained: an exception, or the end of `async for`.
enum class AtEnd : std::uint8_t { raise_closed, stop_iteration };

[[nodiscard]] WaitList& data_line(PyObject* source);
void pass_on_data(const AwaitableObject& self);

template <Received kReceived, AtEnd kAtEnd, bool kInPlace>
bool attempt_receive(AwaitableObject& self, bool in_line, PyObject** result) {
  Channel& channel = *as_channel(self.source).channel;
  Message message;
  if (kInPlace) message.take_in_place();
  const Status status = in_line ? channel.receive_or_wait(message) : channel.try_receive(message);
  if (status == Status::empty) return false;
  if (kAtEnd == AtEnd::stop_iteration && status == Status::closed) {
    PyErr_SetNone(PyExc_StopAsyncIteration);
  } else {
    *result = kReceived(*self.state, channel, status, message);
  }
  return true;
}

template <Received kReceived, AtEnd kAtEnd = AtEnd::raise_closed, bool kInPlace = false>
[[nodiscard]] constexpr AwaitableOperation receiving(const char* name) noexcept {
  return {name, data_line, attempt_receive<kReceived, kAtEnd, kInPlace>, pass_on_data, nullptr};
}

/// The coroutine, or nullptr and an exception is set.
[[nodiscard]] PyObject* receive_async(const AwaitableOperation& operation, PyObject* object);

// Methods of erlang.Channel
// ------------------------------------------------------------------------

PyObject* channel_receive(PyObject* object, PyObject* const* args, Py_ssize_t count,
                          PyObject* keywords);
PyObject* channel_try_receive(PyObject* object, PyObject*);
PyObject* channel_async_receive(PyObject* object, PyObject*);
PyObject* channel_anext(PyObject* object);
PyObject* channel_iter(PyObject* object);

}  // namespace penstock::python
