// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <cstdint>
#include <utility>

#include "context_resource.hpp"
#include "counters.hpp"
#include "kept_reference.hpp"
#include "penstock/call.hpp"
#include "resource.hpp"

namespace penstock::nif {

/// What a call's answer is: {Ref, Result}, {async_result, Ref, Result}, or no message at all.
enum class AnswerAs : std::uint8_t { answer, async_result, nothing };

/// A call of an Erlang process. The answer is a message with {ok, Term}, {error, Term} or ok.
/// Dropped unanswered, because its context ended, it answers {error, {context_died, stopped}}.
class NifCall final : public Call {
 public:
  /// `reference` is a term of `env`. Throws bad_alloc.
  [[nodiscard]] static Ref<NifCall> create(ErlNifEnv* env, ERL_NIF_TERM reference,
                                           Resource<ContextResource> context, bool wants_traceback,
                                           AnswerAs as);

  [[nodiscard]] bool watch_caller() noexcept override;
  /// As Call::cancel().
  [[nodiscard]] bool cancel() noexcept;
  /// Answers with {ok, Term} or {error, Term}, a term of any environment, unless the call was
  /// answered or cancelled.
  void finish_with(ERL_NIF_TERM result) noexcept;
  /// For a caller whose context is remote: looks for answers, at most `for_ns`. One to this call
  /// becomes `*result`, a term of `env`, and is not sent. True: some came.
  bool look_out(ErlNifEnv* env, std::int64_t for_ns, ERL_NIF_TERM* result) noexcept;
  void lose() noexcept override;

 private:
  friend class ContextResource;
  class Awaited;
  NifCall(const ErlNifPid& caller, ERL_NIF_TERM reference, Resource<ContextResource> context,
          bool wants_traceback, AnswerAs as);
  ~NifCall() override;
  void answer(Outcome outcome, const Message& term) noexcept override;
  /// Sends a term of `env`, which is the calling thread's for sending.
  void send(ErlNifEnv* env, ERL_NIF_TERM result, std::size_t wire_size) noexcept;

  const ErlNifPid process_;
  const KeptReference reference_;
  const Resource<ContextResource> context_;
  const AnswerAs as_;
  // The context's.
  NifCall* next_ = nullptr;
  NifCall* previous_ = nullptr;
  bool is_listed_ = false;
  [[no_unique_address]] Counted<&Counters::calls> counted_;
};

/// What Erlang holds of a call.
class CallResource {
 public:
  explicit CallResource(Ref<NifCall> call) noexcept : call_(std::move(call)) {}
  [[nodiscard]] const Ref<NifCall>& call() const noexcept { return call_; }

 private:
  const Ref<NifCall> call_;
};

}  // namespace penstock::nif
