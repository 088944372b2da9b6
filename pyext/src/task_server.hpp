// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor.hpp"
#include "inbox_waiter.hpp"
#include "loop_source.hpp"
#include "module_state.hpp"
#include "penstock/spin.hpp"

namespace penstock::python {

struct TaskRunObject;

/// Takes the requests of a context whose thread runs an asyncio loop.
///
///   requests ──► serve(), by the loop itself ──► a function runs at once: its value is the answer
///                                          └───► what it returned is awaited: a TaskRun, in a
///                                                task of the loop, answers when it is done
///
/// The context's first request is the one that runs the loop (erlang.tasks.serve), so the executor
/// is inside of that for as long as the loop runs, and this object takes what comes after.
///
/// Threads: the context's, with the GIL. Cost: the loop is woken once for a burst of requests.
class TaskServer final : public LoopSource {
 public:
  /// `closed`: a future that gets its result when no more requests will come.
  TaskServer(ModuleState& state, Executor& executor, PyObject* loop, PyObject* closed) noexcept;
  ~TaskServer() { end(); }
  TaskServer(const TaskServer&) = delete;
  TaskServer& operator=(const TaskServer&) = delete;

  /// `object`: whose this is, and which lives until the end(). False: an exception is set.
  [[nodiscard]] bool start(PyObject* object);
  /// The loop ends: what runs is answered with context_died. Idempotent.
  void end() noexcept;

  [[nodiscard]] bool serve() override;
  [[nodiscard]] bool comes_soon(std::int64_t deadline) override;
  [[nodiscard]] bool has_come() override;

  int traverse(visitproc visit, void* arg) const;

 private:
  friend class TaskStep;
  friend class TaskScope;
  /// Others have their turn after so many requests.
  static constexpr int kAtOnce = 128;

  [[nodiscard]] bool is_something_there() const noexcept;
  void leave_line() noexcept;
  [[nodiscard]] bool finish();
  void serve_caller();
  void handle(Message& message);
  void run(const Executor::Request& request, wire::Reader& reader);
  /// Says in `answer` what was raised. False: no need to, the context or the application stops, and
  /// the call has been answered.
  [[nodiscard]] bool describe(Call& call, Message& answer) const;
  void start_task(const PyRef& run);
  /// It is done.
  void remove(TaskRunObject& run) noexcept;
  void cancel(const Call& call);

  ModuleState& state_;
  Executor& executor_;
  PyRef loop_;
  PyRef closed_;
  PyRef object_;
  Ref<LoopMailbox> mailbox_;
  Ref<InboxWaiter> waiter_;
  TaskRunObject* runs_ = nullptr;  // Each with a reference.
  Path path_;                      // Of the request that begins.
  bool has_ended_ = false;
  std::int64_t idle_since_ns_ = 0;
  SpinBudget spin_{20'000};
};

/// _native.TaskServer(loop, closed): starts it; end() ends it.
[[nodiscard]] bool add_task_server_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
