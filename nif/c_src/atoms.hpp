// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

namespace penstock::nif {

/// Every atom that the library itself says, made once at load and never from data. A macro, because
/// a name must appear as an identifier and as text.
// clang-format off
#define PENSTOCK_ATOMS(atom) \
  atom(accept_failed) atom(answered) atom(async_result) atom(atom_limit) atom(atoms_created) \
  atom(bitstring) atom(buffers) atom(busy) atom(bytes) atom(call) atom(calls) \
  atom(cancelled) atom(capacity) atom(channels) atom(close_failed) atom(closed) atom(connect_failed) \
  atom(content) atom(content_length) atom(context_died) atom(contexts) atom(corrupt) \
  atom(descriptor) atom(dropped_sends) \
  atom(efbig) atom(empty) atom(enomem) atom(enospc) atom(error) atom(eval) atom(event_loops) atom(exec) atom(fired) \
  atom(free_threaded) atom(from_worker) atom(has_more) atom(improper_list) atom(infinity) atom(internal) atom(interpreters) \
  atom(invalid_address) atom(invalid_buffer) atom(invalid_callback_id) atom(invalid_channel) \
  atom(invalid_fd) atom(invalid_fd_ref) atom(invalid_loop) atom(invalid_timer) atom(limit) \
  atom(link) atom(max_size) atom(no_reader) atom(none) atom(not_shared) atom(ok) \
  atom(others) atom(output) atom(owngil) \
  atom(penstock_forward) atom(penstock_ready) atom(penstock_stopped) atom(pinned) atom(pinned_bytes) \
  atom(pipe_failed) atom(py_event) atom(py_forwarder) atom(python) atom(read) \
  atom(read_failed) atom(recvfrom_failed) atom(remote) atom(select_failed) atom(sendto_failed) \
  atom(setsockopt_failed) atom(shared_buffers) atom(shared_bytes) atom(shared_channels) atom(shared_count) \
  atom(size) atom(socket_failed) atom(spawn) atom(stopped) \
  atom(system_limit) atom(task) atom(terms) atom(thread) atom(timer) atom(to_worker) atom(too_deep) atom(too_large) \
  atom(too_long) atom(traceback) atom(undefined) atom(unhashable_key) atom(unsupported) \
  atom(version) atom(wait) atom(waiters) atom(waiting_for_data) atom(waiting_for_space) atom(worker) atom(would_block) atom(write) \
  atom(write_failed) atom(written)
// clang-format on

struct Atoms {
#define PENSTOCK_FIELD(name) ERL_NIF_TERM name;
  PENSTOCK_ATOMS(PENSTOCK_FIELD)
#undef PENSTOCK_FIELD
  ERL_NIF_TERM true_;  ///< Keywords of C++.
  ERL_NIF_TERM false_;
};

namespace detail {
inline Atoms atom_table;  // Written once, at load.
}  // namespace detail

void make_atoms(ErlNifEnv* env) noexcept;
[[nodiscard]] inline const Atoms& atoms() noexcept { return detail::atom_table; }

[[nodiscard]] inline ERL_NIF_TERM make_ok(ErlNifEnv* env, ERL_NIF_TERM term) noexcept {
  return enif_make_tuple2(env, atoms().ok, term);
}
[[nodiscard]] inline ERL_NIF_TERM make_error(ErlNifEnv* env, ERL_NIF_TERM reason) noexcept {
  return enif_make_tuple2(env, atoms().error, reason);
}

}  // namespace penstock::nif
