// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/message.hpp"
#include "penstock/ref.hpp"
#include "penstock/shim.hpp"

namespace penstock {

/// The first element of each wire tuple that Erlang sends to a thread of Python. numbers.hrl has
/// the same for Erlang.
///
/// Requests to a context. Path: the contexts (pids) whose threads wait for what this comes from.
///   call    {.., Call as handle, Path, Module, Function, Args list, Kwargs map}
///                                                           names are binaries or atoms
///   eval    {.., Call, Path, Code, Locals map}
///   exec    {.., Call, Path, Code}
///   resume  {.., Call, Path, Module, Function, Args list, Kwargs map}: a call that runs already
///           goes on with another function
///   forget  {.., Pid}: the process is gone, so drop its namespace. No call, no answer.
///   look    {..}: there may be something in the thread's inbox.
///   thread  as call, but what is no coroutine function may run on a thread of asyncio's executor.
///           To a context that runs an event loop only.
///   cancel  {.., Call}: its caller gave up, so a task that runs for it is to be cancelled. Same.
///
/// To the inbox of a thread that calls Erlang, besides requests from further down its own Path:
///   opened  {.., Pid}: the process that starts handlers for this thread
///   started {.., Id, Handler}: the handler that was started for call Id
///   value   {.., Id, Handler, Term}: what call Id returned
///   failure {.., Id, Handler, Class, Text, Reason, Stack}: how it failed; Class is an atom
///   down    {.., Id, Handler, Class, Text, Reason, Stack}: the handler is gone, which was started
///           for call Id and may have been running a later one. Id 0: the process that starts
///           handlers is gone
///   undelivered {.., Id}: call Id came to no process, and may be sent to another one. To a worker
///           process only: a thread of the VM is told by the send itself
enum class Operation : std::uint8_t {
  call,
  eval,
  exec,
  resume,
  forget,
  look,
  opened,
  value,
  failure,
  down,
  thread,
  cancel,
  started,
  undelivered,
};

/// One request to Python, shared by the caller, the queue and the context.
///
///   queued ──start──► running ──finish──► answered
///      └───────cancel──────┴──────────────► cancelled
///
/// Exactly one of answered and cancelled is reached, so a late answer never reaches anybody and a
/// cancelled request never starts. A call dropped unanswered answers with an error.
///
/// Threads: any. Edges:
///   A1  each transition is a compare-and-swap, acq_rel: whoever wins sees what the others did.
class Call : public Object {
 public:
  /// Identifies the calling process; namespaces belong to it.
  [[nodiscard]] std::uint64_t caller() const noexcept { return caller_; }

  /// Whether an exception is to be answered with its traceback.
  [[nodiscard]] bool wants_traceback() const noexcept { return wants_traceback_; }

  /// The context is about to run it. False: cancelled meanwhile, skip it.
  [[nodiscard]] bool start() noexcept { return move(kQueued, kRunning); }
  /// The caller gave up. True: no answer will be sent. False: it has been, or is being sent.
  [[nodiscard]] bool cancel() noexcept {
    return move(kQueued, kCancelled) || move(kRunning, kCancelled);
  }
  /// Whether it is to go on.
  [[nodiscard]] bool is_running() const noexcept {
    return state_.load(order::acquire("A1")) == kRunning;
  }
  [[nodiscard]] bool is_cancelled() const noexcept {
    return state_.load(order::acquire("A1")) == kCancelled;
  }
  /// Sends {ok, Term}, {error, Term} or `ok`, unless the call was cancelled. `term` is in wire
  /// form.
  enum class Outcome : std::uint8_t { ok_term, error_term, ok };
  void finish(Outcome outcome, const Message& term) noexcept {
    if (move(kRunning, kAnswered)) answer(outcome, term);
  }

  /// Its context ends: answers, if nothing has, as it would when it is dropped.
  virtual void lose() noexcept {}

  /// What runs it in the context's thread, whose alone this is; nullptr: nothing that could be
  /// cancelled.
  [[nodiscard]] void* runner() const noexcept { return runner_; }
  void set_runner(void* runner) noexcept { runner_ = runner; }

  /// Arranges that the context gets a `forget` request when the caller is gone. False: it is gone.
  [[nodiscard]] virtual bool watch_caller() noexcept = 0;

 protected:
  explicit Call(std::uint64_t caller, bool wants_traceback = false) noexcept
      : caller_(caller), wants_traceback_(wants_traceback) {}
  /// For destructors: true if the call was never answered nor cancelled.
  [[nodiscard]] bool abandon() noexcept {
    return move(kQueued, kAnswered) || move(kRunning, kAnswered);
  }
  virtual void answer(Outcome outcome, const Message& term) noexcept = 0;

 private:
  static constexpr std::uint32_t kQueued = 0, kRunning = 1, kAnswered = 2, kCancelled = 3;
  bool move(std::uint32_t from, std::uint32_t to) noexcept {
    return state_.compare_exchange_strong(from, to, order::acq_rel("A1"), order::acquire("A1"));
  }
  const std::uint64_t caller_;
  const bool wants_traceback_;
  void* runner_ = nullptr;
  Atomic<std::uint32_t> state_{kQueued};
};

}  // namespace penstock
