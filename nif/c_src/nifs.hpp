// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

/// The NIF bodies, in the groups of the table in load.cpp. nif/src/py_nif.erl documents each.
namespace penstock::nif {

using Body = ERL_NIF_TERM(ErlNifEnv* env, const ERL_NIF_TERM* argv);

// channel_nifs.cpp
Body channel_new, channel_send, channel_close, channel_info, byte_channel_info, channel_try_receive;
// channel_wait_nifs.cpp
Body channel_send_wait, channel_send_again, channel_receive_wait, byte_channel_receive_wait;
// waiting.cpp
Body channel_receive_again, cancel_wait;
// byte_channel_nifs.cpp
Body byte_channel_new, byte_channel_send, byte_channel_send_many, byte_channel_try_receive,
    byte_channel_try_receive_many, byte_channel_send_wait, byte_channel_send_again;
// buffer_nifs.cpp
Body buffer_new, buffer_write, buffer_write_wait, buffer_write_again, buffer_close, buffer_abort,
    buffer_set_writer, buffer_info;
// context_nifs.cpp
Body runtime_start, runtime_version, runtime_features, set_stopped;
Body context_new, context_submit, context_interrupt, context_interrupt_call, context_finish, context_stop;
Body call_cancel;
Body call_answer;
// output_nifs.cpp
Body output_open, output_close;
// debug_nifs.cpp
Body debug_counters, debug_fail_allocations;

/// Opens the resource types of a file. At load only.
[[nodiscard]] bool open_channel_types(ErlNifEnv* env) noexcept;
[[nodiscard]] bool open_buffer_types(ErlNifEnv* env) noexcept;
[[nodiscard]] bool open_context_types(ErlNifEnv* env) noexcept;

}  // namespace penstock::nif
