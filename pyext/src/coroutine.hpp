// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

/// What coroutines that are written in C++ have in common.
namespace penstock::python {

/// For next() and send(): the value of a coroutine that returns is in StopIteration. Takes the
/// reference to `result`.
[[nodiscard]] PyObject* stop_with(PySendResult outcome, PyObject* result);

/// The exception that throw() was called with, by its tuple of arguments.
struct Thrown {
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;

  /// False: TypeError is set.
  [[nodiscard]] bool parse(PyObject* args);
  void raise() const;
};

}  // namespace penstock::python
