// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor.hpp"
#include "inbox_waiter.hpp"
#include "module_state.hpp"

namespace penstock::python {

struct TaskRunObject;

/// Takes the requests of a context whose thread runs an asyncio loop.
///
///   requests ──► serve(), called by the loop ──► a function runs at once: its value is the answer
///                                          └───► what it returned is awaited: a TaskRun, in a
///                                                task of the loop, answers when it is done
///
/// The context's first request is the one that runs the loop (erlang.tasks.serve), so the executor
/// is inside of that for as long as the loop runs, and this object takes what comes after.
///
/// Threads: the context's, with the GIL. Cost: the loop is woken once for a burst of requests.
class TaskServer {
 public:
  /// `closed`: a future that gets its result when no more requests will come.
  TaskServer(ModuleState& state, Executor& executor, PyObject* loop, PyObject* closed) noexcept;
  ~TaskServer() { end(); }
  TaskServer(const TaskServer&) = delete;
  TaskServer& operator=(const TaskServer&) = delete;

  /// `callable` calls serve(), and is what the loop gets. False: an exception is set.
  [[nodiscard]] bool start(PyObject* callable);
  /// Runs what has come, or a part of it, and then again soon. False: an exception is set.
  [[nodiscard]] bool serve();
  /// The loop ends: what runs is answered with context_died. Idempotent.
  void end() noexcept;

  int traverse(visitproc visit, void* arg) const;

 private:
  friend class TaskStep;
  friend class TaskScope;
  /// Others have their turn after so many requests.
  static constexpr int kAtOnce = 128;

  enum class Next : std::uint8_t { request, nothing, end };
  [[nodiscard]] Next next(Message& message);
  [[nodiscard]] Status wait_in_line(Message& message);
  void leave_line() noexcept;
  [[nodiscard]] bool again_soon();
  [[nodiscard]] bool finish();
  void handle(Message& message);
  void run(const Executor::Request& request, wire::Reader& reader, Path& path);
  void start_task(const PyRef& run, Path& path);
  /// It is done.
  void remove(TaskRunObject& run) noexcept;
  void cancel(const Call& call);

  ModuleState& state_;
  Executor& executor_;
  PyRef loop_;
  PyRef closed_;
  PyRef callable_;
  Ref<LoopMailbox> mailbox_;
  Ref<InboxWaiter> waiter_;
  TaskRunObject* runs_ = nullptr;  // Each with a reference.
  bool has_ended_ = false;
};

/// _native.TaskServer(loop, closed): starts it; end() ends it.
[[nodiscard]] bool add_task_server_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
