// SPDX-License-Identifier: Apache-2.0
#include "call.hpp"

#include <new>
#include <optional>
#include <utility>

#include "atoms.hpp"
#include "codec.hpp"
#include "owned_env.hpp"
#include "per_thread.hpp"
#include "scratch.hpp"

namespace penstock::nif {

namespace {

/// Of a result that is no message: it may be large.
constexpr std::size_t kUnknownSize = SIZE_MAX;

/// The thread's environment for answers, empty at both ends of a scope. Scopes do not nest.
class AnswerEnv {
 public:
  AnswerEnv() noexcept {
    try {
      env_ = per_thread<Scratch>().answer_env.get();
    } catch (const std::bad_alloc&) {
      env_ = own_.emplace().get();  // Ends the VM rather than fail.
    }
  }
  ~AnswerEnv() { enif_clear_env(env_); }
  AnswerEnv(const AnswerEnv&) = delete;
  AnswerEnv& operator=(const AnswerEnv&) = delete;
  [[nodiscard]] ErlNifEnv* get() const noexcept { return env_; }

 private:
  ErlNifEnv* env_ = nullptr;
  std::optional<OwnedEnv> own_;
};

}  // namespace

/// The call whose caller looks for its answer on this thread, for a scope.
class NifCall::Awaited {
 public:
  Awaited(const NifCall& call, ErlNifEnv* env, ERL_NIF_TERM* result) noexcept
      : call_(&call), env_(env), result_(result) {
    here_ = this;
  }
  ~Awaited() { here_ = nullptr; }
  Awaited(const Awaited&) = delete;
  Awaited& operator=(const Awaited&) = delete;

  /// nullptr: nobody looks for that one here.
  [[nodiscard]] static const Awaited* of(const NifCall& call) noexcept {
    return here_ != nullptr && here_->call_ == &call ? here_ : nullptr;
  }
  [[nodiscard]] ErlNifEnv* env() const noexcept { return env_; }
  void give(ERL_NIF_TERM result) const noexcept { *result_ = result; }

 private:
  static constinit thread_local const Awaited* here_;
  const NifCall* const call_;
  ErlNifEnv* const env_;
  ERL_NIF_TERM* const result_;
};

constinit thread_local const NifCall::Awaited* NifCall::Awaited::here_ = nullptr;

Ref<NifCall> NifCall::create(ErlNifEnv* env, ERL_NIF_TERM reference,
                             Resource<ContextResource> context, bool wants_traceback, AnswerAs as) {
  ErlNifPid caller{};
  (void)enif_self(env, &caller);
  return Ref<NifCall>::steal(
      new NifCall(caller, reference, std::move(context), wants_traceback, as));
}

NifCall::NifCall(const ErlNifPid& caller, ERL_NIF_TERM reference, Resource<ContextResource> context,
                 bool wants_traceback, AnswerAs as)
    : Call(caller.pid, wants_traceback),
      process_(caller),
      reference_(reference),
      context_(std::move(context)),
      as_(as) {
  context_->begin_call();
  if (as_ == AnswerAs::async_result) context_->enlist(*this);
}

NifCall::~NifCall() {
  if (as_ == AnswerAs::async_result) context_->delist(*this);
  lose();
}

bool NifCall::cancel() noexcept {
  const bool is_ours = Call::cancel();
  if (is_ours) context_->end_call();
  return is_ours;
}

void NifCall::lose() noexcept {
  if (!abandon()) return;
  context_->end_call();
  const AnswerEnv env;
  send(env.get(),
       make_error(env.get(), enif_make_tuple2(env.get(), atoms().context_died, atoms().stopped)),
       0);
}

bool NifCall::watch_caller() noexcept { return context_->watch(process_); }

void NifCall::finish_with(ERL_NIF_TERM result) noexcept {
  if (!abandon()) return;
  context_->end_call();
  const AnswerEnv env;
  send(env.get(), enif_make_copy(env.get(), result), kUnknownSize);
}

bool NifCall::look_out(ErlNifEnv* env, std::int64_t for_ns, ERL_NIF_TERM* result) noexcept {
  const Awaited awaited(*this, env, result);
  return context_->context().look_out(for_ns);
}

void NifCall::answer(Outcome outcome, const Message& message) noexcept {
  context_->end_call();
  if (as_ == AnswerAs::nothing) return;
  const Awaited* const awaited = Awaited::of(*this);
  const AnswerEnv scope;
  ErlNifEnv* const env = awaited != nullptr ? awaited->env() : scope.get();
  if (outcome == Outcome::ok) return send(env, atoms().ok, 0);
  ERL_NIF_TERM term{};
  switch (decode(env, message, &term)) {
    case Status::ok:
      return send(env, outcome == Outcome::ok_term ? make_ok(env, term) : make_error(env, term),
                  message.size());
    case Status::limit:
      return send(env, make_error(env, atoms().atom_limit), 0);
    case Status::out_of_memory:
      return send(env, make_error(env, atoms().enomem), 0);
    default:
      return send(env, make_error(env, atoms().corrupt), 0);
  }
}

void NifCall::send(ErlNifEnv* env, ERL_NIF_TERM result, std::size_t wire_size) noexcept {
  if (as_ == AnswerAs::nothing) return;
  if (const Awaited* const awaited = Awaited::of(*this); awaited != nullptr) {
    return awaited->give(enif_make_copy(awaited->env(), result));
  }
  const ERL_NIF_TERM reference = enif_make_copy(env, reference_.term());
  const ERL_NIF_TERM message = as_ == AnswerAs::answer
                                   ? enif_make_tuple2(env, reference, result)
                                   : enif_make_tuple3(env, atoms().async_result, reference, result);
  // A small one is copied: an environment that is given away has room for 400 words and more, which
  // the receiver of many answers keeps until it collects, while ours is used again at once.
  constexpr std::size_t kSmall = 512;
  ErlNifEnv* const given = wire_size <= kSmall ? nullptr : env;
  // From whichever thread, also a scheduler that drops the last reference.
  if (enif_send(nullptr, &process_, given, message) == 0) count(counters().dropped_sends);
}

}  // namespace penstock::nif
