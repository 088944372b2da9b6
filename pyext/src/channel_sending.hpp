// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

namespace penstock::python {

/// Methods of erlang.Channel: send(term, timeout=None), which may block, and try_send(term).
PyObject* channel_send(PyObject* object, PyObject* const* args, Py_ssize_t count,
                       PyObject* keywords);
PyObject* channel_try_send(PyObject* object, PyObject* term);

}  // namespace penstock::python
