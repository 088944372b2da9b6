// SPDX-License-Identifier: Apache-2.0
#include "channel_sending.hpp"

#include "blocking.hpp"
#include "encode.hpp"
#include "lent_bytes.hpp"
#include "timeouts.hpp"

namespace penstock::python {

namespace {

bool prepare(ChannelObject& self, PyObject* term, Message& message) {
  if (!require_channel(self)) return false;
  drop_returned(*self.state);
  if (!encode(*self.state, message, term)) return false;
  count_as_sender(self);
  return true;
}

}  // namespace

bool send_blocking(const ChannelObject& self, Message& message, std::int64_t deadline_ns) {
  Status status = self.channel->try_send(message);
  if (status == Status::full) {
    const auto attempt = [&](ThreadWaiter& waiter, ThreadWaiter::Wake* woken) {
      return self.channel->send(message, deadline_ns, waiter, woken);
    };
    if (!block(*self.state, Status::full, status, attempt)) return false;
  }
  if (status == Status::ok) return true;
  if (status == Status::full) {
    PyErr_SetString(PyExc_TimeoutError, "channel send timeout");
  } else {
    raise_status(*self.state, *self.channel, status);
  }
  return false;
}

PyObject* send_now(const ChannelObject& self, Message& message) {
  const Status status = self.channel->try_send(message);
  if (status == Status::ok || status == Status::full) return PyBool_FromLong(status == Status::ok);
  raise_status(*self.state, *self.channel, status);
  return nullptr;
}

PyObject* channel_send(PyObject* object, PyObject* const* args, Py_ssize_t count,
                       PyObject* keywords) {
  ChannelObject& self = as_channel(object);
  PyObject* term = nullptr;
  std::int64_t deadline_ns = kNoDeadline;
  Message message;
  if (!parse_send("send", "term", args, count, keywords, term, deadline_ns) ||
      !prepare(self, term, message) || !send_blocking(self, message, deadline_ns)) {
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* channel_try_send(PyObject* object, PyObject* term) {
  ChannelObject& self = as_channel(object);
  Message message;
  if (!prepare(self, term, message)) return nullptr;
  return send_now(self, message);
}

}  // namespace penstock::python
