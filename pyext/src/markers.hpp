// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"

namespace penstock::python {

/// What a Python function returns so that its call goes on somewhere else: erlang.ScheduleMarker
/// and erlang.InlineScheduleMarker. Immutable.
struct MarkerObject {
  PyObject_HEAD PyObject* module;  ///< A str; nullptr: `function` is one of Erlang.
  PyObject* function;              ///< A str.
  PyObject* args;                  ///< A tuple.
  PyObject* kwargs;                ///< A dict, or nullptr.
  PyObject* globals;               ///< InlineScheduleMarker: of who made it, where names are
                                   ///< looked up first. Or nullptr.
};

[[nodiscard]] inline MarkerObject& as_marker(PyObject* object) noexcept {
  return *reinterpret_cast<MarkerObject*>(object);
}
[[nodiscard]] inline bool is_marker(const ModuleState& state, PyObject* object) noexcept {
  return Py_IS_TYPE(object, state.schedule_marker_type);
}
[[nodiscard]] inline bool is_inline_marker(const ModuleState& state, PyObject* object) noexcept {
  return Py_IS_TYPE(object, state.inline_marker_type);
}

/// erlang.schedule, schedule_py, schedule_inline, consume_time_slice.
PyObject* schedule(PyObject* module, PyObject* const* args, Py_ssize_t count, PyObject* keywords);
PyObject* schedule_py(PyObject* module, PyObject* const* args, Py_ssize_t count,
                      PyObject* keywords);
PyObject* schedule_inline(PyObject* module, PyObject* const* args, Py_ssize_t count,
                          PyObject* keywords);
PyObject* consume_time_slice(PyObject* module, PyObject* percent);

/// A piece of work begins on this thread: its time slice does.
void begin_time_slice() noexcept;

[[nodiscard]] bool add_marker_types(PyObject* module, ModuleState& state);

}  // namespace penstock::python
