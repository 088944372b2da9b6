// SPDX-License-Identifier: Apache-2.0
#include "atoms.hpp"
#include "channel_resource.hpp"
#include "codec.hpp"
#include "delivery.hpp"
#include "guard.hpp"
#include "nifs.hpp"
#include "waiting.hpp"

namespace penstock::nif {

namespace {

using For = ProcessWaiter::For;

template <Channel::Content Content>
ERL_NIF_TERM receive_wait(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ChannelResource* const resource = channel_in(env, argv[0], Content);
  if (resource == nullptr) return make_error(env, atoms().invalid_channel);
  if (copies_too_much(resource->core())) {
    return continue_dirty<receive_wait<Content>, 2>(env, "channel_receive_wait", argv);
  }
  const auto waiter = wait_in_line(env, Ref<Object>::borrow(&resource->core()),
                                   resource->core().data_waiters(), For::message, argv[1]);
  return receive_in_line(env, *waiter);
}

}  // namespace

ERL_NIF_TERM channel_receive_wait(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return receive_wait<Channel::Content::terms>(env, argv);
}

ERL_NIF_TERM byte_channel_receive_wait(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return receive_wait<Channel::Content::bytes>(env, argv);
}

ERL_NIF_TERM channel_send_wait(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ChannelResource* const resource = channel_in(env, argv[0], Channel::Content::terms);
  if (resource == nullptr) return make_error(env, atoms().invalid_channel);
  Message message;
  Encoder encoder(env, message, atoms_for(resource->core()));
  const Encoder::Outcome outcome = encoder.term(argv[1]);
  if (outcome == Encoder::Outcome::too_much_work || copies_too_much(resource->core(), message)) {
    return continue_dirty<channel_send_wait, 3>(env, "channel_send_wait", argv);
  }
  if (outcome != Encoder::Outcome::ok) return encode_error(env, outcome, encoder);
  const auto waiter = wait_in_line(env, Ref<Object>::borrow(&resource->core()),
                                   resource->core().space_waiters(), For::room_in_channel, argv[2]);
  return send_in_line(env, *waiter, message);
}

ERL_NIF_TERM channel_send_again(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  ProcessWaiter& waiter = own_waiter(env, argv[0], For::room_in_channel);
  Message message;
  Encoder encoder(env, message, atoms_for(channel_of(waiter)));
  const Encoder::Outcome outcome = encoder.term(argv[1]);
  if (outcome == Encoder::Outcome::too_much_work || copies_too_much(channel_of(waiter), message)) {
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

}  // namespace penstock::nif
