// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <new>

#include "atoms.hpp"

namespace penstock::nif {

/// The caller's bug: becomes badarg.
struct BadArg {};

/// The one place where C++ failures turn into Erlang ones; nothing thrown ever reaches the VM.
template <ERL_NIF_TERM (*Body)(ErlNifEnv*, const ERL_NIF_TERM*)>
ERL_NIF_TERM guarded(ErlNifEnv* env, int /*arity*/, const ERL_NIF_TERM argv[]) noexcept {
  try {
    return Body(env, argv);
  } catch (const BadArg&) {
    return enif_make_badarg(env);
  } catch (const std::bad_alloc&) {
    return make_error(env, atoms().enomem);
  } catch (...) {
    return enif_raise_exception(env, atoms().internal);
  }
}

[[nodiscard]] inline bool on_normal_scheduler() noexcept {
  return enif_thread_type() == ERL_NIF_THR_NORMAL_SCHEDULER;
}

/// Runs the same body again, from the start, where it may take longer than a millisecond.
template <ERL_NIF_TERM (*Body)(ErlNifEnv*, const ERL_NIF_TERM*), int Arity>
[[nodiscard]] ERL_NIF_TERM continue_dirty(ErlNifEnv* env, const char* name,
                                          const ERL_NIF_TERM argv[]) noexcept {
  return enif_schedule_nif(env, name, ERL_NIF_DIRTY_JOB_CPU_BOUND, guarded<Body>, Arity, argv);
}

}  // namespace penstock::nif
