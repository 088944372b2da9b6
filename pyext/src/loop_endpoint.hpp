// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "loop_mailbox.hpp"
#include "module_state.hpp"

namespace penstock::python {

class EndpointSource;

/// What an asyncio loop runs when coroutines that wait for channels may go on: one for each loop,
/// kept alive by the loop only. When the loop is closed or collected it goes too, and whatever
/// still waited leaves its line.
///
/// For an ErlangEventLoop it is a LoopSource. For any other loop it is a callable that is
/// registered with add_reader for its mailbox's eventfd.
///
/// Threads: the loop's.
struct EndpointObject {
  PyObject_HEAD ModuleState* state;
  LoopMailbox* mailbox;      ///< Owned.
  PyObject* loop_reference;  ///< Weak reference.
  PyObject* loop_address;    ///< Borrowed, compared only: the key in ModuleState::endpoints.
  AwaitableObject* waiting;  ///< Those that wait by this endpoint. It has a reference to the future
                             ///< of each: a task that waits for Erlang lives, although nothing else
                             ///< here refers to it, and a coroutine that nobody runs does not.
  LoopMailbox* inbox;        ///< Owned: what the loop watches for a thread's calls, or nullptr.
  EndpointSource* source;    ///< Owned; nullptr: the loop is not one of ours.
};

/// The endpoint of `loop`, made and registered when it is the first time: a borrowed reference that
/// the loop keeps alive. From here on interrupts of the calling thread wake the loop. nullptr: an
/// exception is set.
[[nodiscard]] EndpointObject* endpoint_of(ModuleState& state, PyObject* loop);

/// For what a loop calls: sees to it that an interrupt of its thread is raised. The interpreter
/// does that between two instructions of Python, and uvloop, which calls from C, may go back to
/// sleep without any. False: it has been raised here.
[[nodiscard]] bool let_interrupt_in(ModuleState& state);

/// asyncio.get_running_loop().
[[nodiscard]] PyRef running_loop(ModuleState& state);

[[nodiscard]] bool add_endpoint_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
