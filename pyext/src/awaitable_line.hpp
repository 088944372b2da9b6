// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "awaitable.hpp"

/// How a coroutine gets into its source's line of waiters, and out of it.
///
/// Threads: the loop's, with the GIL.
namespace penstock::python {

/// Takes the waiter out of line. True: it had been given a wake-up, which now is the caller's.
bool leave_line(AwaitableObject& self) noexcept;

/// The wait is over, whatever came of it. Not while in line.
void forget_waiter(AwaitableObject& self) noexcept;

/// Ends the coroutine unfinished. A wake-up that it had goes to the next in line.
void cancel(AwaitableObject& self);

enum class Outcome : std::uint8_t {
  waits,     ///< For self.future, in line.
  finished,  ///< Not in line any more; the attempt's `*result`, or its exception.
  failed,    ///< It could not wait: an exception is set, and it may still be in line.
};

/// Gets in line, and tries once more.
[[nodiscard]] Outcome wait_or_finish(AwaitableObject& self, PyObject** result);

/// Ends the wait for a future, which may be none, or done already. Its own exception is reported.
void finish_wait(const ModuleState& state, PyObject* awaited);

}  // namespace penstock::python
