// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ref.hpp"

namespace penstock::python {

/// Arguments of receive(timeout=None, *, timeout_ms=None) as a deadline of CLOCK_MONOTONIC, and of
/// send(term, timeout=None). False: an exception is set.
[[nodiscard]] bool parse_receive(PyObject* const* args, Py_ssize_t count, PyObject* keywords,
                                 std::int64_t& deadline_ns);
[[nodiscard]] bool parse_send(PyObject* const* args, Py_ssize_t count, PyObject* keywords,
                              PyObject*& term, std::int64_t& deadline_ns);

}  // namespace penstock::python
