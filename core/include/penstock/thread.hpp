// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <signal.h>

namespace penstock {

/// Blocks all signals of this thread for a scope. New threads inherit that, and a child that has
/// this process's memory, so that no handler of the process runs there.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept;
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

/// Starts a detached thread with all signals blocked and an 8 MiB stack, as Python expects of the
/// platform. False: no threads or memory left.
[[nodiscard]] bool start_thread(void* (*body)(void*), void* argument) noexcept;

/// For debuggers; at most 15 bytes.
void name_this_thread(const char* name) noexcept;

}  // namespace penstock
