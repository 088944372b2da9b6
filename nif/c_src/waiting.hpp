// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include "delivery.hpp"
#include "penstock/channel.hpp"
#include "process_waiter.hpp"
#include "resource.hpp"

/// Waits of Erlang processes. Each NIF looks, and leaves the process in line if it must wait:
///
///   {wait, Waiter}   wait for {penstock_ready, Ref}, then call the .._again NIF
///   {fired, Result}  the result, and {penstock_ready, Ref} is on its way: take it from the mailbox
///   Result           finished, and no message will come
namespace penstock::nif {

/// A waiter of the calling process in line. Throws bad_alloc, and BadArg if `reference` is none. A
/// dying process is not put in line; nobody sees its result.
[[nodiscard]] Resource<ProcessWaiter> wait_in_line(ErlNifEnv* env, Ref<Object> owner,
                                                   WaitList& line, ProcessWaiter::For what,
                                                   ERL_NIF_TERM reference);

/// The calling process's own waiter, which was fired. Throws BadArg: anybody else would take a
/// wake-up, or a place, that is not theirs; and not while in line.
[[nodiscard]] ProcessWaiter& own_waiter(ErlNifEnv* env, ERL_NIF_TERM term, ProcessWaiter::For what);

/// What it waits for room or a message in.
[[nodiscard]] Channel& channel_of(const ProcessWaiter& waiter) noexcept;

/// {wait, Waiter}.
[[nodiscard]] ERL_NIF_TERM wait_result(ErlNifEnv* env, ProcessWaiter& waiter) noexcept;

/// Ends a wait that has its result.
[[nodiscard]] Woken finish(ProcessWaiter& waiter) noexcept;

/// Looks for a message while in line.
[[nodiscard]] ERL_NIF_TERM receive_in_line(ErlNifEnv* env, ProcessWaiter& waiter);
/// Looks for room while in line.
[[nodiscard]] ERL_NIF_TERM send_in_line(ErlNifEnv* env, ProcessWaiter& waiter, Message& message);

}  // namespace penstock::nif
