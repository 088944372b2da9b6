// SPDX-License-Identifier: Apache-2.0
#include "channel_sending.hpp"

#include "blocking.hpp"
#include "channel_object.hpp"
#include "encode.hpp"
#include "timeouts.hpp"

namespace penstock::python {

namespace {

/// Encodes; from the first time on Python counts as a sender, so that receivers wait for it.
bool prepare(ChannelObject& self, PyObject* term, Message& message) {
  if (!require_channel(self) || !encode(*self.state, message, term)) return false;
  if (!std::exchange(self.has_sent, true)) self.channel->add_sender();
  return true;
}

/// Raises what is exceptional about `status`. True: there is nothing exceptional (ok, full).
bool check_sent(const ModuleState& state, Status status) {
  switch (status) {
    case Status::ok:
    case Status::full:
      return true;
    case Status::closed:
      PyErr_SetString(state.channel_closed, "the channel is closed");
      return false;
    case Status::too_large:
      PyErr_SetString(PyExc_ValueError, "the message is larger than the channel's max_size");
      return false;
    case Status::out_of_memory:
      PyErr_NoMemory();
      return false;
    default:
      PyErr_SetString(PyExc_SystemError, "unexpected status of a channel");
      return false;
  }
}

}  // namespace

PyObject* channel_send(PyObject* object, PyObject* const* args, Py_ssize_t count,
                       PyObject* keywords) {
  ChannelObject& self = as_channel(object);
  PyObject* term = nullptr;
  std::int64_t deadline_ns = kNoDeadline;
  Message message;
  if (!parse_send(args, count, keywords, term, deadline_ns) || !prepare(self, term, message)) {
    return nullptr;
  }
  Status status = self.channel->try_send(message);
  if (status == Status::full) {
    const auto attempt = [&](ThreadWaiter& waiter, ThreadWaiter::Wake* woken) {
      return self.channel->send(message, deadline_ns, waiter, woken);
    };
    if (!block(*self.state, Status::full, status, attempt)) return nullptr;
  }
  if (!check_sent(*self.state, status)) return nullptr;
  if (status == Status::ok) Py_RETURN_NONE;
  PyErr_SetString(PyExc_TimeoutError, "channel send timeout");
  return nullptr;
}

PyObject* channel_try_send(PyObject* object, PyObject* term) {
  ChannelObject& self = as_channel(object);
  Message message;
  if (!prepare(self, term, message)) return nullptr;
  const Status status = self.channel->try_send(message);
  if (!check_sent(*self.state, status)) return nullptr;
  return PyBool_FromLong(status == Status::ok);
}

}  // namespace penstock::python
