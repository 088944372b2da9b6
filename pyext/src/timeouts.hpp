// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ref.hpp"

namespace penstock::python {

/// Arguments of methods, timeouts as a deadline of CLOCK_MONOTONIC. `function` is its name, for
/// errors. False: an exception is set.

/// A number of seconds, 0 or more; None is no deadline.
[[nodiscard]] bool deadline_of_seconds(PyObject* timeout, std::int64_t& deadline_ns);
/// (timeout=None, *, timeout_ms=None)
[[nodiscard]] bool parse_receive(const char* function, PyObject* const* args, Py_ssize_t count,
                                 PyObject* keywords, std::int64_t& deadline_ns);
/// (max_count, timeout=None, *, timeout_ms=None), where `max_count` stays as it is by default.
[[nodiscard]] bool parse_receive_view(const char* function, PyObject* const* args, Py_ssize_t count,
                                      PyObject* keywords, bool& in_place,
                                      std::int64_t& deadline_ns);
[[nodiscard]] bool parse_async_receive_view(const char* function, PyObject* const* args,
                                            Py_ssize_t count, PyObject* keywords, bool& in_place);
[[nodiscard]] bool parse_receive_many(const char* function, PyObject* const* args, Py_ssize_t count,
                                      PyObject* keywords, Py_ssize_t& max_count,
                                      std::int64_t& deadline_ns);
/// (`what`, timeout=None)
[[nodiscard]] bool parse_send(const char* function, const char* what, PyObject* const* args,
                              Py_ssize_t count, PyObject* keywords, PyObject*& value,
                              std::int64_t& deadline_ns);

}  // namespace penstock::python
