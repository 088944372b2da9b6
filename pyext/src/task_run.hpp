// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "caller.hpp"
#include "executor.hpp"
#include "module_state.hpp"
#include "penstock/call.hpp"

namespace penstock::python {

class TaskServer;

/// A call that takes more than one step of a loop: the coroutine that a task of the loop runs. It
/// drives what the function returned, follows schedule markers, and answers the call, whatever is
/// raised: SystemExit ends the task, not the loop.
///
///   driving `iterator` ◄──► about to follow `marker` ──► done
///
/// Threads: the loop's, with the GIL.
struct TaskRunObject {
  PyObject_HEAD TaskServer* server;  ///< nullptr: the loop ends, nobody is to be answered.
  Call* call;                        ///< Owned; nullptr: it has been answered.
  Path* path;                        ///< Owned; nullptr: just the context's own.
  PyObject* iterator;
  PyObject* marker;  ///< Where it goes on at the next step.
  PyObject* task;    ///< The loop's, until it is done.
  TaskRunObject* next;
  TaskRunObject* previous;
  bool is_threaded;  ///< What is no coroutine function runs on another thread.
  bool is_done;
  bool is_running;
  bool is_cancelled;  ///< The task was told so. Not twice: it may have its reasons to go on.
};

[[nodiscard]] inline TaskRunObject& as_task_run(PyObject* object) noexcept {
  return *reinterpret_cast<TaskRunObject*>(object);
}

/// What a call came to at once: an awaitable or a marker. Not in a task yet. Empty: an exception is
/// set.
[[nodiscard]] PyRef new_task_run(ModuleState& state, TaskServer& server, const Ref<Call>& call,
                                 PyRef value, bool is_threaded);

/// It has been answered. The run may be a part of what only the garbage collector finds.
void forget_call(TaskRunObject& run) noexcept;

/// Its caller has given up.
void cancel_task(const ModuleState& state, TaskRunObject& run);

/// Whether such a value is not the result yet.
[[nodiscard]] bool goes_on(const ModuleState& state, PyObject* value) noexcept;

[[nodiscard]] bool add_task_run_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
