// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

/// The NIF bodies, in the groups of the table in load.cpp. nif/src/py_nif.erl documents each.
namespace penstock::nif {

using Body = ERL_NIF_TERM(ErlNifEnv* env, const ERL_NIF_TERM* argv);

// channel_nifs.cpp
Body channel_new, channel_send, channel_close, channel_info, channel_try_receive;
// channel_wait_nifs.cpp
Body channel_send_wait, channel_send_again, channel_receive_wait, channel_receive_again,
    channel_cancel_wait;
// context_nifs.cpp
Body runtime_start, runtime_version, set_stopped;
Body context_new, context_submit, context_interrupt, context_interrupt_call, context_stop;
Body call_cancel;
// debug_nifs.cpp
Body debug_counters, debug_fail_allocations;

/// Opens the resource types of a file. At load only.
[[nodiscard]] bool open_channel_types(ErlNifEnv* env) noexcept;
[[nodiscard]] bool open_context_types(ErlNifEnv* env) noexcept;

}  // namespace penstock::nif
