// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "module_state.hpp"

namespace penstock::python {

class LoopCore;

/// What a loop is asked to call.
struct Callback {
  PyObject* function;
  PyObject* const* args;
  Py_ssize_t count;
  PyObject* context;  ///< nullptr: a copy of the caller's.
};

/// A callback that a loop owes somebody: an asyncio.Handle, or with a time an asyncio.TimerHandle.
///
/// The fields up to `other_slots` are the slots of these classes, where CPython puts them (checked
/// when the types are made), so that what is written in Python for them finds what it looks for.
///
/// Given out once and never used again for another callback; only the memory of those that nobody
/// refers to any more is.
struct HandleObject {
  PyObject_HEAD PyObject* args;  ///< What `form` says.
  PyObject* callback;            ///< nullptr: cancelled.
  PyObject* cancelled_slot;      ///< Not used; is_cancelled has it.
  PyObject* context;
  PyObject* loop;
  PyObject* text;              ///< In debug mode, of a cancelled one: what repr() says.
  PyObject* source_traceback;  ///< In debug mode.
  /// Weak references (up to Python 3.11), and what TimerHandle adds, which is not used.
  std::array<PyObject*, 3> other_slots;

  double when;  ///< Of a timer: seconds of the loop's clock.
  enum class Form : std::uint8_t { none, single, tuple } form;
  bool is_cancelled;
  bool is_scheduled;    ///< A timer that is in the heap.
  bool shares_context;  ///< `context` is to be copied before it is used or shown.
};

[[nodiscard]] inline HandleObject& as_handle(PyObject* object) noexcept {
  return *reinterpret_cast<HandleObject*>(object);
}

/// Whether `object` is one of ours, and not one that was made in Python.
[[nodiscard]] bool is_handle(const ModuleState& state, PyObject* object) noexcept;

/// Empty: an exception is set.
[[nodiscard]] PyRef new_handle(LoopCore& loop, const Callback& callback);
[[nodiscard]] PyRef new_timer(LoopCore& loop, double when, const Callback& callback);

/// False: an exception is set (of repr(), in debug mode).
[[nodiscard]] bool cancel(HandleObject& handle);

/// Calls the callback of a handle that is not cancelled. What it raises goes to the loop's
/// exception handler. False: KeyboardInterrupt or SystemExit is set, which end the loop's run.
[[nodiscard]] bool run(HandleObject& handle);

/// Gives back the memory of one that has been emptied, and its reference to the type.
void free_handle(HandleObject& handle) noexcept;

/// Makes the types, which needs asyncio. False: an exception is set.
[[nodiscard]] bool make_handle_types(PyObject* module, ModuleState& state);

}  // namespace penstock::python
