// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

namespace penstock::python {

/// Whether this thread is attached to an interpreter. PyGILState_Check() says yes to everybody once
/// there was a second interpreter.
[[nodiscard]] inline bool has_gil() noexcept {
#if PY_VERSION_HEX >= 0x030D0000
  return PyThreadState_GetUnchecked() != nullptr;
#elif PY_VERSION_HEX >= 0x030C0000
  return _PyThreadState_UncheckedGet() != nullptr;
#else
  return PyGILState_Check() != 0;
#endif
}

/// Detaches this thread from the interpreter for a scope; no Python call is legal inside.
///
/// Coming back may end the thread: a daemon thread that asks for the GIL after the interpreter
/// began to finalize is unwound by pthread_exit. So the destructor may throw, no frame above it is
/// noexcept, and what must be undone (places in lines) is undone inside the scope.
class GilRelease {
 public:
  GilRelease() noexcept : state_(PyEval_SaveThread()) {}
  ~GilRelease() noexcept(false) { PyEval_RestoreThread(state_); }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

/// Attaches this thread, whose state is `state`, for a scope.
class GilHold {
 public:
  explicit GilHold(PyThreadState* state) { PyEval_RestoreThread(state); }
  ~GilHold() { PyEval_SaveThread(); }
  GilHold(const GilHold&) = delete;
  GilHold& operator=(const GilHold&) = delete;
};

}  // namespace penstock::python
