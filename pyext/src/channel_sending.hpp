// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "channel_base.hpp"

namespace penstock::python {

/// Sends at once, or blocks for room until `deadline_ns`. True: sent; false: an exception is set,
/// and the message is as it was.
[[nodiscard]] bool send_blocking(const ChannelObject& self, Message& message,
                                 std::int64_t deadline_ns);
/// True, or False for a full channel; nullptr: an exception is set.
[[nodiscard]] PyObject* send_now(const ChannelObject& self, Message& message);

/// Methods of erlang.Channel: send(term, timeout=None), which may block, and try_send(term).
PyObject* channel_send(PyObject* object, PyObject* const* args, Py_ssize_t count,
                       PyObject* keywords);
PyObject* channel_try_send(PyObject* object, PyObject* term);

}  // namespace penstock::python
