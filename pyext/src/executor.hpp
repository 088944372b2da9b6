// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>

#include "caller.hpp"
#include "code_cache.hpp"
#include "module_cache.hpp"
#include "module_state.hpp"
#include "namespaces.hpp"
#include "parking.hpp"
#include "penstock/call.hpp"
#include "penstock/wire.hpp"

namespace penstock::python {

class RunningScope;
class TaskServer;

/// Runs the requests of one context (call.hpp) and answers them. Whatever they raise, it goes on.
///
/// Threads: the context's, with the GIL.
class Executor {
 public:
  /// `process`: the word of the context's pid. `requests`: where they come from; `inbox`: where
  /// what comes from further down the path of a request that waits for Erlang does.
  Executor(ModuleState& state, Interruptible& interrupts, std::uint64_t process, Channel& requests,
           Ref<Channel> inbox);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  /// nullptr: the calling thread is not a context's.
  [[nodiscard]] static Executor* of_this_thread() noexcept;

  void execute(const Message& request);
  /// Runs one inside of another one, that waits.
  void execute_nested(const Message& request);

  /// Whether calls go on inline (erlang.schedule_inline): then go_on() runs the next piece of the
  /// one that has waited longest.
  [[nodiscard]] bool has_chains() const noexcept { return !chains_.empty(); }
  void go_on();

  /// The contexts that wait for what this thread calls: this one, and those that wait for it.
  [[nodiscard]] const Path& path_from_here() const noexcept { return path_; }

 private:
  friend class TaskServer;
  friend class TaskScope;
  friend class TaskStep;
  /// A request's head.
  struct Request {
    Operation operation{};
    Ref<Call> call;
    std::uint64_t process = 0;  ///< Operation::forget.
  };
  /// A call that goes on inline.
  struct Chain {
    Ref<Call> call;
    Path path;
    PyRef marker;
  };

  bool read_request(wire::Reader& reader, Request& request, Path& path) const;
  void serve(const Message& message, bool is_nested);
  void run(const Request& request, wire::Reader& reader, bool is_nested);
  [[nodiscard]] PyRef perform(const Request& request, wire::Reader& reader);
  void settle(RunningScope& running, const Ref<Call>& call, Operation operation, PyRef result);
  [[nodiscard]] bool go_elsewhere(const Ref<Call>& call, PyObject* marker);
  [[nodiscard]] bool resume_later(const Ref<Call>& call, PyObject* marker);

  /// New references, or empty and an exception is set.
  [[nodiscard]] PyRef call_function(const Request& request, wire::Reader& reader);
  [[nodiscard]] PyRef call_marked(Call& call, PyObject* marker);
  [[nodiscard]] PyRef evaluate(Call& call, wire::Reader& reader);
  [[nodiscard]] PyRef execute_statements(Call& call, wire::Reader& reader);
  [[nodiscard]] PyRef find_function(Call& call, PyObject* module, PyObject* name);
  [[nodiscard]] PyRef find_marked(Call& call, PyObject* marker);
  [[nodiscard]] PyRef read_name(wire::Reader& reader);
  [[nodiscard]] PyRef read(wire::Reader& reader);

  ModuleState& state_;
  Interruptible& interrupts_;
  const std::uint64_t process_;
  Channel& requests_;
  const Ref<Channel> inbox_;
  Caller* const caller_;  // nullptr: there was no memory for it.
  Path path_;             // Of what runs, this context included.
  Namespaces namespaces_;
  TaskServer* server_ =
      nullptr;  // While the context runs an event loop (then it takes the requests).
  CodeCache code_;
  ModuleCache modules_;
  std::deque<Chain> chains_;
};

}  // namespace penstock::python
