// SPDX-License-Identifier: Apache-2.0
#include "call.hpp"

#include <new>
#include <utility>

#include "atoms.hpp"
#include "codec.hpp"

namespace penstock::nif {

Ref<NifCall> NifCall::create(ErlNifEnv* env, ERL_NIF_TERM reference,
                             Resource<ContextResource> context, bool wants_traceback) noexcept {
  ErlNifPid caller{};
  (void)enif_self(env, &caller);
  return Ref<NifCall>::steal(new (std::nothrow)
                                 NifCall(caller, reference, std::move(context), wants_traceback));
}

NifCall::NifCall(const ErlNifPid& caller, ERL_NIF_TERM reference, Resource<ContextResource> context,
                 bool wants_traceback) noexcept
    : Call(caller.pid, wants_traceback),
      process_(caller),
      reference_(enif_make_copy(env_.get(), reference)),
      context_(std::move(context)) {}

NifCall::~NifCall() {
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
  const ERL_NIF_TERM message = enif_make_tuple2(env_.get(), reference_, result);
  // From whichever thread, also a scheduler that drops the last reference.
  if (enif_send(nullptr, &process_, env_.get(), message) == 0) count(counters().dropped_sends);
}

}  // namespace penstock::nif
