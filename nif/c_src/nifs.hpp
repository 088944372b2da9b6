// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

/// The NIF bodies, in the groups of the table in load.cpp. nif/src/py_nif.erl documents each.
namespace penstock::nif {

using Body = ERL_NIF_TERM(ErlNifEnv* env, const ERL_NIF_TERM* argv);

// channel_nifs.cpp
Body channel_new, channel_new_shared, channel_send, channel_close, channel_info, byte_channel_info,
    channel_try_receive;
// channel_wait_nifs.cpp
Body channel_send_wait, channel_send_again, channel_receive_wait, byte_channel_receive_wait;
// waiting.cpp
Body channel_receive_again, cancel_wait;
// byte_channel_nifs.cpp
Body byte_channel_new, byte_channel_new_shared, byte_channel_send, byte_channel_send_many,
    byte_channel_try_receive, byte_channel_try_receive_many, byte_channel_send_wait,
    byte_channel_send_again;
// buffer_nifs.cpp
Body buffer_new, buffer_write, buffer_piece_size, buffer_write_wait, buffer_write_again,
    buffer_close, buffer_abort, buffer_set_writer, buffer_info;
// context_nifs.cpp
Body runtime_start, runtime_version, runtime_features, set_stopped;
Body context_new, process_new, context_submit, context_interrupt, context_interrupt_call,
    context_look_out, context_finish, context_stop, context_kill;
Body call_cancel, call_look_out;
Body call_answer;
// event_loop_nifs.cpp
Body event_loop_new, event_loop_destroy, event_loop_set_worker, event_loop_wakeup,
    event_loop_dispatch, poll_events, get_pending;
Body add_reader, add_writer, remove_reader, remove_writer, start_watching, stop_watching, close_fd,
    call_later, cancel_timer;
// test_socket_nifs.cpp
Body create_test_pipe, write_test_fd, read_test_fd, close_test_fd;
Body create_test_tcp_listener, accept_test_tcp, connect_test_tcp;
Body create_test_udp_socket, sendto_test_udp, recvfrom_test_udp, set_udp_broadcast;
// output_nifs.cpp
Body output_open, output_close;
// stats_nifs.cpp
Body context_stats, node_stats;
// debug_nifs.cpp
Body debug_counters, debug_decode, debug_fail_allocations, debug_waiting;

/// Opens the resource types of a file. At load only.
[[nodiscard]] bool open_channel_types(ErlNifEnv* env) noexcept;
[[nodiscard]] bool open_buffer_types(ErlNifEnv* env) noexcept;
[[nodiscard]] bool open_context_types(ErlNifEnv* env) noexcept;
[[nodiscard]] bool open_event_loop_types(ErlNifEnv* env) noexcept;

}  // namespace penstock::nif
