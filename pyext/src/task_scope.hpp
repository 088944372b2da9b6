// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "executor.hpp"
#include "markers.hpp"
#include "running_scope.hpp"
#include "task_server.hpp"

namespace penstock::python {

/// Code of a task runs now: it can be interrupted, what it writes is its caller's, and what it
/// calls in Erlang has its path.
///
/// Threads: the loop's, with the GIL.
class TaskScope {
 public:
  /// `path`: nullptr: no more than the loop's own context.
  TaskScope(TaskServer& server, const Call& call, Path* path)
      : path_(path),
        executors_(server.executor_.path_),
        running_(server.state_, server.executor_.interrupts_, call) {
    if (path_ != nullptr) std::swap(*path_, executors_);
  }
  ~TaskScope() noexcept(false) { end(); }
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;

  void begin() {
    running_.begin_scope();
    begin_time_slice();
  }
  void end() {
    if (std::exchange(has_ended_, true)) return;
    (void)running_.end();
    if (path_ != nullptr) std::swap(*path_, executors_);
  }

 private:
  Path* const path_;
  Path& executors_;
  RunningScope running_;
  bool has_ended_ = false;
};

}  // namespace penstock::python
