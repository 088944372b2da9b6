// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

namespace penstock::nif {

/// Every atom that the library itself says, made once at load and never from data. A macro, because
/// a name must appear as an identifier and as text.
// clang-format off
#define PENSTOCK_ATOMS(atom) \
  atom(answered) atom(async_result) atom(atom_limit) atom(atoms_created) atom(bitstring) atom(buffers) \
  atom(busy) atom(bytes) atom(call) atom(calls) atom(cancelled) atom(channels) \
  atom(closed) atom(content_length) atom(context_died) atom(contexts) atom(corrupt) \
  atom(dropped_sends) atom(empty) atom(enomem) atom(error) atom(eval) atom(exec) \
  atom(fired) atom(free_threaded) atom(improper_list) atom(internal) \
  atom(interpreters) atom(invalid_buffer) atom(invalid_channel) atom(limit) \
  atom(max_size) atom(no_reader) atom(none) atom(ok) atom(owngil) \
  atom(penstock_forward) atom(penstock_ready) atom(penstock_stopped) atom(pinned) \
  atom(pinned_bytes) atom(py_forwarder) atom(python) atom(read) atom(size) atom(spawn) \
  atom(stopped) atom(task) atom(thread) atom(too_deep) atom(too_large) atom(too_long) atom(traceback) \
  atom(undefined) atom(unhashable_key) atom(unsupported) atom(version) atom(wait) \
  atom(waiters) atom(worker) atom(written)
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
