// SPDX-License-Identifier: Apache-2.0
#include <erl_nif.h>

#include "atoms.hpp"
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
    {"byte_channel_send",             2, guarded<byte_channel_send>,             0},
    {"byte_channel_send_many",        2, guarded<byte_channel_send_many>,        0},
    {"byte_channel_try_receive",      1, guarded<byte_channel_try_receive>,      0},
    {"byte_channel_try_receive_many", 2, guarded<byte_channel_try_receive_many>, 0},
    {"byte_channel_send_wait",        3, guarded<byte_channel_send_wait>,        0},
    {"byte_channel_send_again",       2, guarded<byte_channel_send_again>,       0},
    {"byte_channel_receive_wait",     2, guarded<byte_channel_receive_wait>,     0},
    {"byte_channel_info",             1, guarded<byte_channel_info>,             0},

    // Buffers
    {"buffer_new",                    4, guarded<buffer_new>,                    0},
    {"buffer_write",                  2, guarded<buffer_write>,                  0},
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
    {"context_submit",                5, guarded<context_submit>,                0},
    {"context_interrupt",             1, guarded<context_interrupt>,             0},  // Never blocks; no GIL.
    {"context_interrupt",             2, guarded<context_interrupt_call>,        0},
    {"context_finish",                1, guarded<context_finish>,                0},  // Only asks.
    {"context_stop",                  1, guarded<context_stop>,                  0},  // Only asks.
    {"call_cancel",                   1, guarded<call_cancel>,                   0},
    {"call_answer",                   2, guarded<call_answer>,                   0},

    // Python's output. Never block; no GIL.
    {"output_open",                   3, guarded<output_open>,                   0},
    {"output_close",                  0, guarded<output_close>,                  0},

    // Insight
    {"debug_counters",                0, guarded<debug_counters>,                0},
    {"debug_fail_allocations",        1, guarded<debug_fail_allocations>,        0},
};
// clang-format on

/// What all instances of the module share: the library's own state, which survives them because the
/// library is linked nodelete. Its address tells one mapped copy of the library from another.
void* library_identity() noexcept { return &functions; }

int take_over(ErlNifEnv* env, void** priv_data) noexcept {
  if (!open_channel_types(env) || !open_buffer_types(env) || !open_context_types(env)) return 1;
  set_host(&vm_host());
  *priv_data = library_identity();
  return 0;
}

int load(ErlNifEnv* env, void** priv_data, ERL_NIF_TERM /*info*/) noexcept {
  make_atoms(env);
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
