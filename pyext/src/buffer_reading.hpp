// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

/// The methods of erlang.PyBuffer that take bytes, and peek().
///
/// Threads: any, with the GIL, which they release while they wait and for long copies. Every one
/// waits as the methods of Channel do (blocking.hpp), and takes nothing unless it succeeds.
namespace penstock::python {

PyObject* buffer_read(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords);
PyObject* buffer_read1(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords);
PyObject* buffer_read_nonblock(PyObject* self, PyObject* const* args, Py_ssize_t count,
                               PyObject* keywords);
PyObject* buffer_readall(PyObject* self, PyObject* none);
PyObject* buffer_readinto(PyObject* self, PyObject* target);
PyObject* buffer_readinto1(PyObject* self, PyObject* target);
PyObject* buffer_readline(PyObject* self, PyObject* const* args, Py_ssize_t count);
PyObject* buffer_readlines(PyObject* self, PyObject* const* args, Py_ssize_t count,
                           PyObject* keywords);
/// tp_iternext: the next line.
PyObject* buffer_next(PyObject* self);
PyObject* buffer_peek(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords);
PyObject* buffer_at_eof(PyObject* self, PyObject* none);

}  // namespace penstock::python
