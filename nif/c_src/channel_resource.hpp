// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include "counters.hpp"
#include "penstock/channel.hpp"
#include "penstock/ref.hpp"
#include "resource.hpp"

namespace penstock::nif {

/// Erlang's side of a channel: what the references that py_channel hands out refer to.
///
/// As long as one such reference exists in Erlang, the channel has a sender. A handle in Python or
/// in a queue owns the core channel but not this object, so its destructor tells receivers that
/// Erlang has nobody left who could send.
class ChannelResource {
 public:
  explicit ChannelResource(Ref<Channel> channel) noexcept : channel_(std::move(channel)) {
    channel_->add_sender();
  }
  ~ChannelResource() { channel_->remove_sender(); }

  [[nodiscard]] Channel& channel() const noexcept { return *channel_; }
  [[nodiscard]] Ref<Channel> share() const noexcept { return channel_; }

 private:
  const Ref<Channel> channel_;
  [[no_unique_address]] Counted<&Counters::channels> counted_;
};

/// Remembers that `reference` is how Erlang knows `channel`, before the channel goes where only the
/// core object is known. False when memory ran out. Cheap from the second call on.
[[nodiscard]] bool remember_reference(ErlNifEnv* env, ERL_NIF_TERM reference,
                                      Channel& channel) noexcept;

/// Erlang's reference to `channel`: the very same as before while Erlang still has it, else a new
/// one. Throws bad_alloc.
[[nodiscard]] ERL_NIF_TERM reference_to(ErlNifEnv* env, Channel& channel);

}  // namespace penstock::nif
