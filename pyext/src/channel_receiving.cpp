// SPDX-License-Identifier: Apache-2.0
#include "channel_receiving.hpp"

#include "awaitable.hpp"
#include "blocking.hpp"
#include "channel_iterator.hpp"
#include "channel_object.hpp"
#include "decode.hpp"
#include "timeouts.hpp"

namespace penstock::python {

PyObject* received(ModuleState& state, Status status, const Message& message) {
  switch (status) {
    case Status::ok:
      return decode(state, message);
    case Status::closed:
      PyErr_SetString(state.channel_closed, "the channel is closed");
      return nullptr;
    case Status::out_of_memory:
      return PyErr_NoMemory();
    default:
      PyErr_SetString(PyExc_SystemError, "unexpected status of a channel");
      return nullptr;
  }
}

bool receive_blocking(ModuleState& state, Channel& channel, Message& message,
                      std::int64_t deadline_ns, Status& status) {
  status = channel.try_receive(message);
  if (status != Status::empty) return true;
  return block(state, Status::empty, status, [&](ThreadWaiter& waiter, ThreadWaiter::Wake* woken) {
    return channel.receive(message, deadline_ns, waiter, woken);
  });
}

// Coroutines
// ---------------------------------------------------------------------------------------

namespace {

WaitList& data_line(PyObject* source) { return as_channel(source).channel->data_waiters(); }

void pass_on_data(const AwaitableObject& self) { as_channel(self.source).channel->pass_on_data(); }

/// What happens when the channel is closed and drained: ChannelClosed, or the end of `async for`.
enum class AtEnd : std::uint8_t { raise_closed, stop_iteration };

template <AtEnd kAtEnd>
bool attempt(AwaitableObject& self, bool in_line, PyObject** result) {
  Channel& channel = *as_channel(self.source).channel;
  Message message;
  const Status status = in_line ? channel.receive_or_wait(message) : channel.try_receive(message);
  if (status == Status::empty) return false;
  if (kAtEnd == AtEnd::stop_iteration && status == Status::closed) {
    PyErr_SetNone(PyExc_StopAsyncIteration);
  } else {
    *result = received(*self.state, status, message);
  }
  return true;
}

constexpr AwaitableOperation kAsyncReceive{"Channel.async_receive", data_line,
                                           attempt<AtEnd::raise_closed>, pass_on_data, nullptr};
constexpr AwaitableOperation kAnext{"Channel.__anext__", data_line, attempt<AtEnd::stop_iteration>,
                                    pass_on_data, nullptr};

}  // namespace

// Methods
// ------------------------------------------------------------------------------------------

PyObject* channel_receive(PyObject* object, PyObject* const* args, Py_ssize_t count,
                          PyObject* keywords) {
  const ChannelObject& self = as_channel(object);
  std::int64_t deadline_ns = kNoDeadline;
  if (!require_channel(self) || !parse_receive(args, count, keywords, deadline_ns)) return nullptr;
  Message message;
  Status status = Status::empty;
  if (!receive_blocking(*self.state, *self.channel, message, deadline_ns, status)) return nullptr;
  if (status == Status::empty) {
    PyErr_SetString(PyExc_TimeoutError, "channel receive timeout");
    return nullptr;
  }
  return received(*self.state, status, message);
}

PyObject* channel_try_receive(PyObject* object, PyObject*) {
  const ChannelObject& self = as_channel(object);
  if (!require_channel(self)) return nullptr;
  Message message;
  const Status status = self.channel->try_receive(message);
  if (status == Status::empty) Py_RETURN_NONE;
  return received(*self.state, status, message);
}

PyObject* channel_async_receive(PyObject* object, PyObject*) {
  if (!require_channel(as_channel(object))) return nullptr;
  return new_awaitable(*as_channel(object).state, kAsyncReceive, object);
}

PyObject* channel_anext(PyObject* object) {
  if (!require_channel(as_channel(object))) return nullptr;
  return new_awaitable(*as_channel(object).state, kAnext, object);
}

PyObject* channel_iter(PyObject* object) {
  if (!require_channel(as_channel(object))) return nullptr;
  return new_iterator(*as_channel(object).state, object);
}

}  // namespace penstock::python
