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
  using Core = Channel;
  explicit ChannelResource(Ref<Channel> channel) noexcept : channel_(std::move(channel)) {
    channel_->add_sender();
  }
  ~ChannelResource() { channel_->remove_sender(); }

  [[nodiscard]] Channel& core() const noexcept { return *channel_; }
  [[nodiscard]] Ref<Channel> share() const noexcept { return channel_; }

 private:
  const Ref<Channel> channel_;
  [[no_unique_address]] Counted<&Counters::channels> counted_;
};

/// The channel of such messages that `term` refers to; nullptr if it is something else.
[[nodiscard]] inline const ChannelResource* channel_in(ErlNifEnv* env, ERL_NIF_TERM term,
                                                       Channel::Content content) noexcept {
  const ChannelResource* const resource = Resource<ChannelResource>::get(env, term);
  return resource != nullptr && resource->core().content() == content ? resource : nullptr;
}

}  // namespace penstock::nif
