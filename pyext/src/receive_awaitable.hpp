// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "loop_endpoint.hpp"
#include "module_state.hpp"
#include "penstock/channel.hpp"

namespace penstock::python {

/// What happens when the channel is closed and drained: ChannelClosed, or the end of `async for`.
enum class AtEnd : std::uint8_t { raise_closed, stop_iteration };

class AsyncWaiter;

/// What `channel.async_receive()` and `anext(channel)` return: a coroutine in C.
///
///   fresh ──resume: a message──────────────► done
///     └──resume: empty──► waiting ──resume──► (as fresh)
///          waiting ──throw, close, dealloc──► done: leaves the line, passes on a wake-up it had
///
/// A message is taken out of the channel only when the coroutine runs, so that a cancelled one
/// cannot take a message with it.
struct AwaitableObject {
  PyObject_HEAD ModuleState* state;
  PyObject* channel;         ///< ChannelObject, strong.
  PyObject* future;          ///< While waiting: what the task waits for.
  AsyncWaiter* waiter;       ///< Owned; nullptr until it had to wait.
  EndpointObject* endpoint;  ///< While waiting: where it is listed; cleared when that goes away.
  AwaitableObject* next;     ///< In the endpoint's list.
  AwaitableObject* previous;
  AtEnd at_end;
  bool is_done;
  bool is_running;  ///< Inside send(), which runs code of the loop.
};

/// The waiter of one AwaitableObject in a channel's line.
///
/// Threads: `awaitable` and `is_taken` with the GIL; firing from any thread touches neither.
class AsyncWaiter final : public MailboxWaiter {
 public:
  AsyncWaiter(Ref<Mailbox> mailbox, AwaitableObject* of) noexcept
      : MailboxWaiter(std::move(mailbox)), awaitable(of) {}
  AwaitableObject* awaitable;  ///< nullptr: it went away.
  bool is_linked = false;      ///< In line, or fired and not yet seen by the loop.
};

/// nullptr: MemoryError is set. `channel` is a valid ChannelObject.
[[nodiscard]] PyObject* new_awaitable(ModuleState& state, PyObject* channel, AtEnd at_end);

/// The loop saw that `waiter` fired: its awaitable is to be resumed. An exception of the future is
/// reported, not raised.
void resolve(AsyncWaiter& waiter);
void resolve(AwaitableObject& awaitable);

/// The endpoint goes away: the awaitable will never be resumed by it.
void abandon(AwaitableObject& awaitable);

[[nodiscard]] bool add_awaitable_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
