// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

/// The methods of erlang.PyBuffer about places in the stream. None of them blocks.
namespace penstock::python {

PyObject* buffer_seek(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords);
PyObject* buffer_tell(PyObject* self, PyObject* none);
PyObject* buffer_find(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords);

}  // namespace penstock::python
