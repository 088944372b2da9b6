// SPDX-License-Identifier: Apache-2.0
#include <erl_nif.h>

#include "atoms.hpp"
#include "counters.hpp"
#include "guard.hpp"
#include "nifs.hpp"
#include "penstock/host.hpp"
#include "vm_host.hpp"

namespace penstock::nif {

namespace {

// clang-format off
ErlNifFunc functions[] = {
    // Name, arity, body, scheduler. Those on a normal scheduler do bounded work and take no lock that
    // is ever held over a system call; with a term too large for that they move to a dirty one.

    // Channels
    {"channel_new",                   1, guarded<channel_new>,                   0},
    {"channel_new_shared",            1, guarded<channel_new_shared>,            ERL_NIF_DIRTY_JOB_IO_BOUND},  // The kernel clears its pages.
    {"channel_send",                  2, guarded<channel_send>,                  0},
    {"channel_try_receive",           1, guarded<channel_try_receive>,           0},
    {"channel_close",                 1, guarded<channel_close>,                 0},  // Many waiters: moves, too.
    {"channel_info",                  1, guarded<channel_info>,                  0},

    // Waiting for a channel
    {"channel_send_wait",             3, guarded<channel_send_wait>,             0},
    {"channel_send_again",            2, guarded<channel_send_again>,            0},
    {"channel_receive_wait",          2, guarded<channel_receive_wait>,          0},
    {"channel_receive_again",         1, guarded<channel_receive_again>,         0},
    {"cancel_wait",                   1, guarded<cancel_wait>,                   0},

    // Byte channels. Batches move to a later time slice every thousand messages.
    {"byte_channel_new",              1, guarded<byte_channel_new>,              0},
    {"byte_channel_new_shared",       1, guarded<byte_channel_new_shared>,       ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"byte_channel_send",             2, guarded<byte_channel_send>,             0},
    {"byte_channel_send_many",        2, guarded<byte_channel_send_many>,        0},
    {"byte_channel_try_receive",      1, guarded<byte_channel_try_receive>,      0},
    {"byte_channel_try_receive_many", 2, guarded<byte_channel_try_receive_many>, 0},
    {"byte_channel_send_wait",        3, guarded<byte_channel_send_wait>,        0},
    {"byte_channel_send_again",       2, guarded<byte_channel_send_again>,       0},
    {"byte_channel_receive_wait",     2, guarded<byte_channel_receive_wait>,     0},
    {"byte_channel_info",             1, guarded<byte_channel_info>,             0},

    // Buffers
    {"buffer_new",                    5, guarded<buffer_new>,                    0},
    {"buffer_write",                  2, guarded<buffer_write>,                  0},
    {"buffer_piece_size",             1, guarded<buffer_piece_size>,             0},
    {"buffer_write_wait",             3, guarded<buffer_write_wait>,             0},
    {"buffer_write_again",            3, guarded<buffer_write_again>,            0},
    {"buffer_close",                  1, guarded<buffer_close>,                  0},
    {"buffer_abort",                  2, guarded<buffer_abort>,                  0},
    {"buffer_set_writer",             2, guarded<buffer_set_writer>,             0},
    {"buffer_info",                   1, guarded<buffer_info>,                   0},

    // Python
    {"runtime_start",                 3, guarded<runtime_start>,                 ERL_NIF_DIRTY_JOB_IO_BOUND},  // Reads files.
    {"runtime_version",               0, guarded<runtime_version>,               0},
    {"runtime_features",              0, guarded<runtime_features>,              0},
    {"set_stopped",                   1, guarded<set_stopped>,                   0},  // Never blocks; no GIL.
    {"context_new",                   2, guarded<context_new>,                   ERL_NIF_DIRTY_JOB_IO_BOUND},  // Starts a thread, an interpreter.
    {"process_new",                   6, guarded<process_new>,                   ERL_NIF_DIRTY_JOB_IO_BOUND},  // Starts a process.
    {"context_submit",                5, guarded<context_submit>,                0},
    {"context_interrupt",             1, guarded<context_interrupt>,             0},  // Never blocks; no GIL.
    {"context_interrupt",             2, guarded<context_interrupt_call>,        0},
    {"context_look_out",              2, guarded<context_look_out>,              0},  // 50 us at most.
    {"context_finish",                1, guarded<context_finish>,                0},  // Only asks.
    {"context_stop",                  1, guarded<context_stop>,                  0},  // Only asks.
    {"context_kill",                  1, guarded<context_kill>,                  0},  // A signal.
    {"call_cancel",                   1, guarded<call_cancel>,                   0},
    {"call_look_out",                 2, guarded<call_look_out>,                 0},  // 50 us at most.
    {"call_answer",                   2, guarded<call_answer>,                   0},

    // Event loops of Erlang: no Python.
    {"event_loop_new",                 0, guarded<event_loop_new>,               ERL_NIF_DIRTY_JOB_IO_BOUND},  // Starts a thread.
    {"event_loop_destroy",             1, guarded<event_loop_destroy>,           0},
    {"event_loop_set_worker",          2, guarded<event_loop_set_worker>,        0},
    {"event_loop_wakeup",              1, guarded<event_loop_wakeup>,            0},
    {"event_loop_dispatch",            3, guarded<event_loop_dispatch>,          0},
    {"poll_events",                    2, guarded<poll_events>,                  ERL_NIF_DIRTY_JOB_IO_BOUND},  // Waits.
    {"get_pending",                    1, guarded<get_pending>,                  0},
    {"add_reader",                     3, guarded<add_reader>,                   0},
    {"add_writer",                     3, guarded<add_writer>,                   0},
    {"remove_reader",                  2, guarded<remove_reader>,                0},
    {"remove_writer",                  2, guarded<remove_writer>,                0},
    {"start_reader",                   1, guarded<start_watching>,               0},
    {"start_writer",                   1, guarded<start_watching>,               0},
    {"stop_reader",                    1, guarded<stop_watching>,                0},
    {"stop_writer",                    1, guarded<stop_watching>,                0},
    {"close_fd",                       1, guarded<close_fd>,                     0},
    {"call_later",                     3, guarded<call_later>,                   0},
    {"cancel_timer",                   2, guarded<cancel_timer>,                 0},

    // Descriptors to try them with. None waits: all are non-blocking.
    {"create_test_pipe",               0, guarded<create_test_pipe>,             0},
    {"write_test_fd",                  2, guarded<write_test_fd>,                0},
    {"read_test_fd",                   2, guarded<read_test_fd>,                 0},
    {"close_test_fd",                  1, guarded<close_test_fd>,                0},
    {"create_test_tcp_listener",       1, guarded<create_test_tcp_listener>,     0},
    {"accept_test_tcp",                1, guarded<accept_test_tcp>,              0},
    {"connect_test_tcp",               2, guarded<connect_test_tcp>,             0},
    {"create_test_udp_socket",         1, guarded<create_test_udp_socket>,       0},
    {"sendto_test_udp",                4, guarded<sendto_test_udp>,              0},
    {"recvfrom_test_udp",              2, guarded<recvfrom_test_udp>,            0},
    {"set_udp_broadcast",              2, guarded<set_udp_broadcast>,            0},

    // Python's output. Never block; no GIL.
    {"output_open",                   3, guarded<output_open>,                   0},
    {"output_close",                  0, guarded<output_close>,                  0},

    // Insight
    {"context_stats",                 1, guarded<context_stats>,                 0},
    {"node_stats",                    0, guarded<node_stats>,                    0},  // At most 1000 channels and buffers.
    {"debug_counters",                0, guarded<debug_counters>,                0},
    {"debug_decode",                  1, guarded<debug_decode>,                  0},
    {"debug_fail_allocations",        1, guarded<debug_fail_allocations>,        0},
    {"debug_waiting",                 1, guarded<debug_waiting>,                 0},
};
// clang-format on

/// What all instances of the module share: the library's own state, which survives them because the
/// library is linked nodelete. Its address tells one mapped copy of the library from another.
void* library_identity() noexcept { return &functions; }

int take_over(ErlNifEnv* env, void** priv_data) noexcept {
  if (!open_channel_types(env) || !open_buffer_types(env) || !open_context_types(env) ||
      !open_event_loop_types(env)) {
    return 1;
  }
  set_host(&vm_host());
  *priv_data = library_identity();
  return 0;
}

int load(ErlNifEnv* env, void** priv_data, ERL_NIF_TERM /*info*/) noexcept {
  make_atoms(env);
  publish_counters();
  return take_over(env, priv_data);
}

/// Newer code of the module over the same library: the resource types change hands. Another copy of
/// the library is refused, because Python runs in the first one. The atoms are there, and in use.
int upgrade(ErlNifEnv* env, void** priv_data, void** old_priv_data,
            ERL_NIF_TERM /*info*/) noexcept {
  return *old_priv_data == library_identity() ? take_over(env, priv_data) : 1;
}

}  // namespace

}  // namespace penstock::nif

using penstock::nif::functions;
using penstock::nif::load;
using penstock::nif::upgrade;
ERL_NIF_INIT(py_nif, functions, load, nullptr, upgrade, nullptr)
