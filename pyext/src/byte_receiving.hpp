// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "ref.hpp"

namespace penstock::python {

/// A new bytes object with a copy, made without the GIL if it is large. Somebody keeps `from`
/// alive. nullptr: MemoryError is set.
[[nodiscard]] PyObject* copied_bytes(std::span<const std::uint8_t> from);

/// Methods of erlang.ByteChannel that take messages out.
PyObject* byte_receive(PyObject* object, PyObject* const* args, Py_ssize_t count,
                       PyObject* keywords);
PyObject* byte_try_receive(PyObject* object, PyObject*);
PyObject* byte_receive_many(PyObject* object, PyObject* const* args, Py_ssize_t count,
                            PyObject* keywords);
PyObject* byte_receive_view(PyObject* object, PyObject* const* args, Py_ssize_t count,
                            PyObject* keywords);
PyObject* byte_async_receive(PyObject* object, PyObject*);
PyObject* byte_async_receive_view(PyObject* object, PyObject* const* args, Py_ssize_t count,
                                  PyObject* keywords);
PyObject* byte_anext(PyObject* object);
PyObject* byte_iter(PyObject* object);

}  // namespace penstock::python
