// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace penstock {

/// Starts a detached thread with all signals blocked and an 8 MiB stack, as Python expects of the
/// platform. False: no threads or memory left.
[[nodiscard]] bool start_thread(void* (*body)(void*), void* argument) noexcept;

/// For debuggers; at most 15 bytes.
void name_this_thread(const char* name) noexcept;

}  // namespace penstock
