// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

namespace penstock::python {

/// Methods of erlang.ByteChannel that put messages in. A bytes object of at least
/// bytes::kPinThreshold bytes travels by reference, everything else is copied.
PyObject* byte_send(PyObject* object, PyObject* const* args, Py_ssize_t count, PyObject* keywords);
PyObject* byte_try_send(PyObject* object, PyObject* data);
PyObject* byte_send_many(PyObject* object, PyObject* const* args, Py_ssize_t count,
                         PyObject* keywords);

}  // namespace penstock::python
