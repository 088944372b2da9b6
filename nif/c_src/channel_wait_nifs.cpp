// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "atoms.hpp"
#include "channel_resource.hpp"
#include "channel_waiter.hpp"
#include "codec.hpp"
#include "delivery.hpp"
#include "guard.hpp"
#include "nifs.hpp"
#include "scratch.hpp"

/// Waits of Erlang processes. Each NIF looks, and leaves the process in line if it must wait:
///
///   {wait, Waiter}   wait for {penstock_ready, Ref}, then call the .._again NIF
///   {fired, Result}  the result, and {penstock_ready, Ref} is on its way: take it from the mailbox
///   Result           finished, and no message will come
namespace penstock::nif {

namespace {

ErlNifPid self(ErlNifEnv* env) noexcept {
  ErlNifPid pid{};
  (void)enif_self(env, &pid);
  return pid;
}

ChannelWaiter& own_waiter(ErlNifEnv* env, ERL_NIF_TERM term, ChannelWaiter::For what) {
  ChannelWaiter* const waiter = Resource<ChannelWaiter>::get(env, term);
  // Anybody else would take a wake-up, or a place, that is not theirs. And not while in line.
  if (waiter == nullptr || !waiter->belongs_to(self(env)) || waiter->what() != what ||
      waiter->is_armed()) {
    throw BadArg();
  }
  return *waiter;
}

/// Ends a wait that was not needed.
Woken finish(ChannelWaiter& waiter) noexcept {
  if (waiter.withdraw()) return Woken::no;
  // The wake-up may have been for somebody else's message, or for more room than was needed.
  waiter.looked();
  waiter.pass_on();
  return Woken::yes;
}

/// A waiter in line. Throws bad_alloc. A dying process is not put in line; nobody sees its result.
Resource<ChannelWaiter> wait_in_line(ErlNifEnv* env, const ChannelResource& resource,
                                     ChannelWaiter::For what, ERL_NIF_TERM reference) {
  auto waiter = Resource<ChannelWaiter>::make(resource.share(), what, self(env), reference);
  if (waiter->watch(env)) waiter->arm();
  return waiter;
}

ERL_NIF_TERM wait_result(ErlNifEnv* env, ChannelWaiter& waiter) noexcept {
  return enif_make_tuple2(env, atoms().wait, enif_make_resource(env, &waiter));
}

/// Looks for a message while in line.
ERL_NIF_TERM receive_in_line(ErlNifEnv* env, ChannelWaiter& waiter) {
  std::unique_ptr<Message>& message = per_thread<Scratch>().message;
  switch (waiter.channel().receive_or_wait(*message)) {
    case Status::ok:
      return deliver(env, message, finish(waiter));
    case Status::empty:
      return wait_result(env, waiter);
    case Status::closed:
      return wrap(env, finish(waiter), make_error(env, atoms().closed));
    default:
      return wrap(env, finish(waiter), make_error(env, atoms().enomem));
  }
}

/// Looks for room while in line.
ERL_NIF_TERM send_in_line(ErlNifEnv* env, ChannelWaiter& waiter, Message& message) noexcept {
  const Status status = waiter.channel().try_send(message);
  if (status == Status::full) return wait_result(env, waiter);
  return wrap(env, finish(waiter), send_result(env, status));
}

}  // namespace

ERL_NIF_TERM channel_receive_wait(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ChannelResource* const resource = Resource<ChannelResource>::get(env, argv[0]);
  if (resource == nullptr) return make_error(env, atoms().invalid_channel);
  if (enif_is_ref(env, argv[1]) == 0) throw BadArg();
  const auto waiter = wait_in_line(env, *resource, ChannelWaiter::For::data, argv[1]);
  return receive_in_line(env, *waiter);
}

ERL_NIF_TERM channel_receive_again(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  ChannelWaiter& waiter = own_waiter(env, argv[0], ChannelWaiter::For::data);
  waiter.looked();
  waiter.arm();
  return receive_in_line(env, waiter);
}

ERL_NIF_TERM channel_send_wait(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ChannelResource* const resource = Resource<ChannelResource>::get(env, argv[0]);
  if (resource == nullptr) return make_error(env, atoms().invalid_channel);
  if (enif_is_ref(env, argv[2]) == 0) throw BadArg();
  Message message;
  Encoder encoder(env, message);
  const Encoder::Outcome outcome = encoder.term(argv[1]);
  if (outcome == Encoder::Outcome::too_much_work) {
    return continue_dirty<channel_send_wait, 3>(env, "channel_send_wait", argv);
  }
  if (outcome != Encoder::Outcome::ok) return encode_error(env, outcome, encoder);
  const auto waiter = wait_in_line(env, *resource, ChannelWaiter::For::space, argv[2]);
  return send_in_line(env, *waiter, message);
}

ERL_NIF_TERM channel_send_again(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  ChannelWaiter& waiter = own_waiter(env, argv[0], ChannelWaiter::For::space);
  Message message;
  Encoder encoder(env, message);
  const Encoder::Outcome outcome = encoder.term(argv[1]);
  if (outcome == Encoder::Outcome::too_much_work) {
    return continue_dirty<channel_send_again, 2>(env, "channel_send_again", argv);
  }
  waiter.looked();
  if (outcome != Encoder::Outcome::ok) {
    waiter.pass_on();
    return encode_error(env, outcome, encoder);
  }
  waiter.arm();
  return send_in_line(env, waiter, message);
}

ERL_NIF_TERM channel_cancel_wait(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  ChannelWaiter* const waiter = Resource<ChannelWaiter>::get(env, argv[0]);
  if (waiter == nullptr || !waiter->belongs_to(self(env)) || waiter->is_idle()) throw BadArg();
  if (waiter->give_up()) return atoms().cancelled;
  waiter->looked();
  waiter->pass_on();
  return atoms().fired;
}

}  // namespace penstock::nif
