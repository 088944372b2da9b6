// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "loop_endpoint.hpp"
#include "module_state.hpp"
#include "penstock/waiter.hpp"

namespace penstock::python {

/// One kind of coroutine that takes something from a source as soon as it is there: a row of this
/// table and an AwaitableObject make what `channel.async_receive()` returns.
///
/// Threads: all of it with the GIL, on the thread that runs the coroutine (or collects it).
struct AwaitableOperation {
  /// Of the coroutine, "Channel.async_receive"; errors use what is behind the dot.
  const char* name;

  /// The line of those that wait for the source. Always the same one for a source.
  WaitList& (*line)(PyObject* source);

  /// Tries to finish. True: finished, and `*result` is a new reference, or nullptr and an exception
  /// is set. False, without exception: the coroutine must wait.
  ///
  /// Called first with `in_line` false. If that is not enough the coroutine gets in line and calls
  /// once more with `in_line` true before it sleeps, and then from the beginning each time it was
  /// woken. With a PositionLine, call want() first when in line. May take a part and keep it in
  /// `scratch`. May give the GIL away for a while; no other thread runs this coroutine meanwhile.
  bool (*attempt)(AwaitableObject& self, bool in_line, PyObject** result);

  /// Gives a wake-up on that the coroutine had and did not use. nullptr: nothing to give (all were
  /// woken, as by a PositionLine).
  void (*pass_on)(const AwaitableObject& self);

  /// The coroutine ends without having finished: cancelled, closed, collected, or it could not
  /// wait. May put back what `scratch` holds. An exception may be set, and stays. nullptr: nothing
  /// was taken.
  void (*abandon)(AwaitableObject& self);
};

class AsyncWaiter;

/// A coroutine in C: what `channel.async_receive()` and its like return.
///
///   fresh ──resume: attempt succeeds──────────► done
///     └──resume: nothing──► waiting ──resume──► (as fresh)
///          waiting ──throw, close, dealloc──► done: leaves the line, passes on a wake-up it had
///
/// Something is taken out of the source only when the coroutine runs, so that a cancelled one
/// cannot take a message with it.
struct AwaitableObject {
  PyObject_HEAD ModuleState* state;
  const AwaitableOperation* operation;
  PyObject* source;          ///< Strong.
  PyObject* scratch;         ///< The operation's; nullptr at first.
  std::int64_t argument;     ///< The operation's.
  PyObject* future;          ///< While waiting: what the task waits for.
  AsyncWaiter* waiter;       ///< Owned; nullptr until it had to wait.
  EndpointObject* endpoint;  ///< While waiting: where it is listed, and the future is referred to;
                             ///< cleared when that goes away.
  AwaitableObject* next;     ///< In the endpoint's list.
  AwaitableObject* previous;
  bool is_done;
  bool is_running;  ///< Inside send(), which runs code of the loop.
};

/// The waiter of one AwaitableObject in its source's line.
///
/// Threads: `awaitable` and `is_linked` with the GIL; firing from any thread touches neither.
class AsyncWaiter final : public MailboxWaiter {
 public:
  AsyncWaiter(Ref<Mailbox> mailbox, AwaitableObject* of) noexcept
      : MailboxWaiter(std::move(mailbox)), awaitable(of) {}
  AwaitableObject* awaitable;  ///< nullptr: it went away.
  bool is_linked = false;      ///< In line, or fired and not yet seen by the loop.
};

/// nullptr: MemoryError is set. `operation` lives for ever; `source` is valid for it.
[[nodiscard]] PyObject* new_awaitable(ModuleState& state, const AwaitableOperation& operation,
                                      PyObject* source, std::int64_t argument = 0);

/// The loop saw that `waiter` fired: its awaitable is to be resumed. An exception of the future is
/// reported, not raised.
void resolve(AsyncWaiter& waiter);
void resolve(AwaitableObject& awaitable);

/// The endpoint goes away: the awaitable will never be resumed by it.
void abandon(AwaitableObject& awaitable);

[[nodiscard]] bool add_awaitable_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
