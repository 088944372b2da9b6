// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <memory>

#include "channel_resource.hpp"
#include "codec.hpp"
#include "guard.hpp"
#include "penstock/message.hpp"
#include "penstock/status.hpp"

/// What channel NIFs share: statuses and messages as Erlang terms.
namespace penstock::nif {

/// `ok`, `busy` or {error, Reason} of a send or a write.
[[nodiscard]] ERL_NIF_TERM send_result(ErlNifEnv* env, Status status) noexcept;

/// How atoms go into that channel.
[[nodiscard]] inline Encoder::AtomsAs atoms_for(const Channel& channel) noexcept {
  return channel.shared() != nullptr ? Encoder::AtomsAs::names : Encoder::AtomsAs::words;
}

/// Whether the message that would be copied into, or out of, a shared channel is too long for a
/// normal scheduler, on which this runs.
[[nodiscard]] inline bool copies_too_much(const Channel& channel, const Message& message) noexcept {
  return channel.shared() != nullptr && message.cost() > kMaxBytesAtOnce && on_normal_scheduler();
}
[[nodiscard]] inline bool copies_too_much(const Channel& channel) noexcept {
  return channel.shared() != nullptr && channel.shared()->next_size() > kMaxBytesAtOnce &&
         on_normal_scheduler();
}

/// {error, Reason} of an encoder that refused. Not for too_much_work.
[[nodiscard]] ERL_NIF_TERM encode_error(ErlNifEnv* env, Encoder::Outcome outcome,
                                        Encoder& encoder) noexcept;

/// Whether a process that waited has a wake-up in its mailbox, or soon will, that it must take out.
enum class Woken : bool { no, yes };

/// `result`, or {fired, Result}.
[[nodiscard]] ERL_NIF_TERM wrap(ErlNifEnv* env, Woken woken, ERL_NIF_TERM result) noexcept;

/// {error, Reason} of a receive that found nothing.
[[nodiscard]] ERL_NIF_TERM receive_error(ErlNifEnv* env, Status status) noexcept;

/// The bytes of such a message, which is empty afterwards. Throws bad_alloc.
[[nodiscard]] ERL_NIF_TERM take_bytes(ErlNifEnv* env, std::unique_ptr<Message>& message);

/// {ok, Binary}, wrapped, for a message of raw bytes that was received, which is empty afterwards.
[[nodiscard]] ERL_NIF_TERM deliver_bytes(ErlNifEnv* env, std::unique_ptr<Message>& message,
                                         Woken woken = Woken::no);

/// {ok, Term}, wrapped, for a message that was received, which is empty afterwards; or {error,
/// corrupt | atom_limit | enomem}: then it is gone, but not silently. A large one is decoded on a
/// dirty scheduler, and travels there in a resource, so return what this returns.
[[nodiscard]] ERL_NIF_TERM deliver(ErlNifEnv* env, std::unique_ptr<Message>& message,
                                   Woken woken = Woken::no);

[[nodiscard]] bool open_delivery_type(ErlNifEnv* env) noexcept;

}  // namespace penstock::nif
