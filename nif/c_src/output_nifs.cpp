// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "atoms.hpp"
#include "channel_resource.hpp"
#include "guard.hpp"
#include "nifs.hpp"
#include "penstock/python/runtime.hpp"

namespace penstock::nif {

namespace {

bool get_flag(ERL_NIF_TERM term) {
  if (term != atoms().true_ && term != atoms().false_) throw BadArg();
  return term == atoms().true_;
}

ERL_NIF_TERM previous(ErlNifEnv* env, Ref<Channel> channel) {
  if (!channel) return atoms().none;
  return make_ok(env, Resource<ChannelResource>::make(std::move(channel)).term(env));
}

}  // namespace

ERL_NIF_TERM output_open(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ChannelResource* const channel = channel_in(env, argv[0], Channel::Content::terms);
  if (channel == nullptr) return make_error(env, atoms().invalid_channel);
  const python::OutputSettings settings{get_flag(argv[1]), get_flag(argv[2])};
  return previous(env, python::open_output(channel->share(), settings));
}

ERL_NIF_TERM output_close(ErlNifEnv* env, const ERL_NIF_TERM* /*argv*/) {
  return previous(env, python::close_output());
}

}  // namespace penstock::nif
