// SPDX-License-Identifier: Apache-2.0
#include "channel_receiving.hpp"

#include "blocking.hpp"
#include "channel_iterator.hpp"
#include "decode.hpp"
#include "gil.hpp"
#include "timeouts.hpp"

namespace penstock::python {

namespace {

PyObject* received_term(ModuleState& state, Channel& channel, Status status, Message& message) {
  if (status == Status::ok) return decode(state, message);
  raise_status(state, channel, status);
  return nullptr;
}

constexpr AwaitableOperation kAsyncReceive = receiving<received_term>("Channel.async_receive");
constexpr AwaitableOperation kAnext =
    receiving<received_term, AtEnd::stop_iteration>("Channel.__anext__");

}  // namespace

bool receive_blocking(ModuleState& state, Channel& channel, Message& message,
                      std::int64_t deadline_ns, Status& status) {
  drop_returned(state);
  status = channel.try_receive(message);
  if (status != Status::empty) return true;
  std::int64_t const started_ns = now_ns();
  if (channel.may_come_soon()) {
    // Before block(), which gets ready for signals: system calls, when in a stream the next message
    // comes within a microsecond. Not in vain: a busy thread gives the GIL back after 5 ms.
    const GilRelease released;
    status = channel.receive_soon(message, started_ns, deadline_ns);
  }
  if (status != Status::empty) return true;
  return block(state, Status::empty, status, [&](ThreadWaiter& waiter, ThreadWaiter::Wake* woken) {
    return channel.receive_later(message, started_ns, deadline_ns, waiter, woken);
  });
}

PyObject* receive_as(Received received, const char* function, PyObject* object,
                     PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
  const ChannelObject& self = as_channel(object);
  std::int64_t deadline_ns = kNoDeadline;
  if (!require_channel(self) || !parse_receive(function, args, count, keywords, deadline_ns)) {
    return nullptr;
  }
  Message message;
  return receive_into(message, received, object, deadline_ns);
}

PyObject* receive_into(Message& message, Received received, PyObject* object,
                       std::int64_t deadline_ns) {
  const ChannelObject& self = as_channel(object);
  Status status = Status::empty;
  if (!receive_blocking(*self.state, *self.channel, message, deadline_ns, status)) return nullptr;
  if (status == Status::empty) {
    PyErr_SetString(PyExc_TimeoutError, "channel receive timeout");
    return nullptr;
  }
  return received(*self.state, *self.channel, status, message);
}

PyObject* try_receive_as(Received received, PyObject* object) {
  const ChannelObject& self = as_channel(object);
  if (!require_channel(self)) return nullptr;
  drop_returned(*self.state);
  Message message;
  const Status status = self.channel->try_receive(message);
  if (status == Status::empty) Py_RETURN_NONE;
  return received(*self.state, *self.channel, status, message);
}

WaitList& data_line(PyObject* source) { return as_channel(source).channel->data_waiters(); }

void pass_on_data(const AwaitableObject& self) { as_channel(self.source).channel->pass_on_data(); }

PyObject* receive_async(const AwaitableOperation& operation, PyObject* object) {
  const ChannelObject& self = as_channel(object);
  if (!require_channel(self)) return nullptr;
  drop_returned(*self.state);
  return new_awaitable(*self.state, operation, object);
}

// Methods of erlang.Channel
// ------------------------------------------------------------------------

PyObject* channel_receive(PyObject* object, PyObject* const* args, Py_ssize_t count,
                          PyObject* keywords) {
  return receive_as(received_term, "receive", object, args, count, keywords);
}

PyObject* channel_try_receive(PyObject* object, PyObject*) {
  return try_receive_as(received_term, object);
}

PyObject* channel_async_receive(PyObject* object, PyObject*) {
  return receive_async(kAsyncReceive, object);
}

PyObject* channel_anext(PyObject* object) { return receive_async(kAnext, object); }

PyObject* channel_iter(PyObject* object) {
  if (!require_channel(as_channel(object))) return nullptr;
  return new_iterator(*as_channel(object).state, object, received_term);
}

}  // namespace penstock::python
