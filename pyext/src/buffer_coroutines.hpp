// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

/// The methods of erlang.PyBuffer that return coroutines: as their namesakes, but waiting on the
/// running asyncio loop. One that is cancelled has taken nothing.
namespace penstock::python {

PyObject* buffer_aread(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords);
PyObject* buffer_aread1(PyObject* self, PyObject* const* args, Py_ssize_t count,
                        PyObject* keywords);
PyObject* buffer_areadline(PyObject* self, PyObject* const* args, Py_ssize_t count,
                           PyObject* keywords);
/// am_anext: the next line.
PyObject* buffer_anext(PyObject* self);

}  // namespace penstock::python
