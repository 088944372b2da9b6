// SPDX-License-Identifier: Apache-2.0
#include "call.hpp"

#include <new>
#include <utility>

#include "atoms.hpp"
#include "codec.hpp"

namespace penstock::nif {

Ref<NifCall> NifCall::create(ErlNifEnv* env, ERL_NIF_TERM reference,
                             Resource<ContextResource> context, bool wants_traceback,
                             AnswerAs as) noexcept {
  ErlNifPid caller{};
  (void)enif_self(env, &caller);
  return Ref<NifCall>::steal(
      new (std::nothrow) NifCall(caller, reference, std::move(context), wants_traceback, as));
}

NifCall::NifCall(const ErlNifPid& caller, ERL_NIF_TERM reference, Resource<ContextResource> context,
                 bool wants_traceback, AnswerAs as) noexcept
    : Call(caller.pid, wants_traceback),
      process_(caller),
      reference_(enif_make_copy(env_.get(), reference)),
      context_(std::move(context)),
      as_(as) {}

NifCall::~NifCall() { lose(); }

void NifCall::lose() noexcept {
  if (!abandon()) return;
  ErlNifEnv* const env = env_.get();
  send(make_error(env, enif_make_tuple2(env, atoms().context_died, atoms().stopped)));
}

bool NifCall::watch_caller() noexcept { return context_->watch(process_); }

void NifCall::finish_with(ERL_NIF_TERM result) noexcept {
  if (abandon()) send(enif_make_copy(env_.get(), result));
}

void NifCall::answer(Outcome outcome, const Message& message) noexcept {
  ErlNifEnv* const env = env_.get();
  if (as_ == AnswerAs::nothing) return;
  if (outcome == Outcome::ok) return send(atoms().ok);
  ERL_NIF_TERM term{};
  switch (decode(env, message, &term)) {
    case Status::ok:
      return send(outcome == Outcome::ok_term ? make_ok(env, term) : make_error(env, term));
    case Status::limit:
      return send(make_error(env, atoms().atom_limit));
    case Status::out_of_memory:
      return send(make_error(env, atoms().enomem));
    default:
      return send(make_error(env, atoms().corrupt));
  }
}

void NifCall::send(ERL_NIF_TERM result) noexcept {
  if (as_ == AnswerAs::nothing) return;
  ErlNifEnv* const env = env_.get();
  const ERL_NIF_TERM message =
      as_ == AnswerAs::answer ? enif_make_tuple2(env, reference_, result)
                              : enif_make_tuple3(env, atoms().async_result, reference_, result);
  // From whichever thread, also a scheduler that drops the last reference.
  if (enif_send(nullptr, &process_, env_.get(), message) == 0) count(counters().dropped_sends);
}

}  // namespace penstock::nif
