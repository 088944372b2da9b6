// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"
#include "penstock/channel.hpp"

namespace penstock::python {

/// What a receive that ended with `status` returns: the message, or nullptr and an exception
/// (ChannelClosed, MemoryError, what decoding raised). Not for Status::empty.
[[nodiscard]] PyObject* received(ModuleState& state, Status status, const Message& message);

/// Takes the oldest message, or blocks for it until `deadline_ns`. False: an exception is set.
[[nodiscard]] bool receive_blocking(ModuleState& state, Channel& channel, Message& message,
                                    std::int64_t deadline_ns, Status& status);

/// Methods of erlang.Channel.
PyObject* channel_receive(PyObject* object, PyObject* const* args, Py_ssize_t count,
                          PyObject* keywords);
PyObject* channel_try_receive(PyObject* object, PyObject*);
PyObject* channel_async_receive(PyObject* object, PyObject*);
PyObject* channel_anext(PyObject* object);
PyObject* channel_iter(PyObject* object);

}  // namespace penstock::python
