// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "channel_object.hpp"
#include "receive_awaitable.hpp"

/// How a coroutine gets into a channel's line of waiters, and out of it.
///
/// Threads: the loop's, with the GIL.
namespace penstock::python {

[[nodiscard]] inline Channel& channel_behind(const AwaitableObject& self) noexcept {
  return *as_channel(self.channel).channel;
}

/// Takes the waiter out of line. True: it had been given a wake-up, which now is the caller's.
bool leave_line(AwaitableObject& self) noexcept;

/// The wait is over, whatever came of it. Not while in line.
void forget_waiter(AwaitableObject& self) noexcept;

/// Ends the coroutine. A wake-up that it had goes to the next in line.
void cancel(AwaitableObject& self) noexcept;

/// Gets in line, and looks once more. False: an exception is set; else `status` empty means that
/// the coroutine now waits for self.future.
[[nodiscard]] bool wait_or_receive(AwaitableObject& self, Message& message, Status& status);

}  // namespace penstock::python
