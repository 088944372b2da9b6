// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "loop_mailbox.hpp"
#include "module_state.hpp"

namespace penstock::python {

class Caller;

/// In the line of a Caller's inbox while futures wait for what comes there.
///
/// Threads: `is_linked` with the GIL; firing, from any thread, does not touch it.
class InboxWaiter final : public MailboxWaiter {
 public:
  using MailboxWaiter::MailboxWaiter;
  bool is_linked = false;  ///< In line, or fired and not yet seen by a loop.
};

/// They have fired, and leave their lines.
void take_fired(MailboxWaiter* fired) noexcept;

/// What asyncio loops run when a Caller's inbox has something: the same for all loops of its
/// thread, so that whichever runs deals with it. Kept alive by the Caller and the loops.
///
/// An ErlangEventLoop has an InboxSource beside it, and looks by itself. For any other loop this is
/// a callable that is registered with add_reader for its mailbox's eventfd.
///
/// Threads: with the GIL.
struct InboxReaderObject {
  PyObject_HEAD LoopMailbox* mailbox;  ///< Owned; nullptr: there was no other loop yet.
  Caller* caller;                      ///< nullptr: it went away.
};

/// nullptr: an exception is set.
[[nodiscard]] PyObject* new_inbox_reader(ModuleState& state, Caller& caller);

/// The Caller goes away; what is still in the mailbox does, too.
void forget_caller(InboxReaderObject& reader) noexcept;

/// Has `loop`, which is not one of ours, call the reader when its mailbox is woken, if it does not
/// yet. False: an exception is set.
[[nodiscard]] bool watch_inbox(ModuleState& state, PyObject* loop, InboxReaderObject& reader);

[[nodiscard]] bool add_inbox_reader_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
