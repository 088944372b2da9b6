// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <new>
#include <system_error>

#include "atoms.hpp"
#include "channel_resource.hpp"
#include "codec.hpp"
#include "delivery.hpp"
#include "foreign_binary.hpp"
#include "guard.hpp"
#include "nifs.hpp"
#include "penstock/shared_queue.hpp"
#include "process_waiter.hpp"
#include "scratch.hpp"
#include "vm_domain.hpp"

namespace penstock::nif {

namespace {

/// Waking so many processes takes well under a millisecond.
constexpr std::uint32_t kMaxWakesAtOnce = 500;

ERL_NIF_TERM invalid_channel(ErlNifEnv* env) noexcept {
  return make_error(env, atoms().invalid_channel);
}

}  // namespace

bool open_channel_types(ErlNifEnv* env) noexcept {
  return Resource<ChannelResource>::open(env, "penstock_channel") &&
         Resource<ProcessWaiter>::open(env, "penstock_waiter") && open_delivery_type(env) &&
         open_foreign_binary_types(env);
}

ERL_NIF_TERM channel_new(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  ErlNifUInt64 max_size{};
  if (enif_get_uint64(env, argv[0], &max_size) == 0) throw BadArg();
  Ref<Channel> channel = Channel::create(max_size);
  if (!channel) return make_error(env, atoms().enomem);
  return make_ok(env, Resource<ChannelResource>::make(std::move(channel)).term(env));
}

namespace {

/// {ok, Channel}, or {error, Reason}: one that worker processes may use, too. It takes a
/// descriptor.
ERL_NIF_TERM new_shared(ErlNifEnv* env, const ERL_NIF_TERM* argv, Channel::Content content) {
  ErlNifUInt64 max_size{};
  if (enif_get_uint64(env, argv[0], &max_size) == 0 || max_size > SharedQueue::kMostSize) {
    throw BadArg();
  }
  try {
    ErlNifPid self{};
    (void)enif_self(env, &self);
    VmDomain& vm = vm_domain(self.pid);
    Ref<Channel> channel = SharedQueue::create(vm.domain, vm.porter, max_size, content);
    return make_ok(env, Resource<ChannelResource>::make(std::move(channel)).term(env));
  } catch (const std::system_error& error) {
    return make_error(env, reason_of(error));
  }
}

}  // namespace

ERL_NIF_TERM channel_new_shared(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return new_shared(env, argv, Channel::Content::terms);
}

ERL_NIF_TERM byte_channel_new_shared(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return new_shared(env, argv, Channel::Content::bytes);
}

ERL_NIF_TERM channel_send(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ChannelResource* const resource = channel_in(env, argv[0], Channel::Content::terms);
  if (resource == nullptr) return invalid_channel(env);
  Message message;
  Encoder encoder(env, message, atoms_for(resource->core()));
  const Encoder::Outcome outcome = encoder.term(argv[1]);
  const bool goes_on =
      outcome == Encoder::Outcome::too_much_work || copies_too_much(resource->core(), message);
  if (outcome == Encoder::Outcome::ok && !goes_on) [[likely]] {
    return send_result(env, resource->core().try_send(message));
  }
  if (goes_on) {
    return continue_dirty<channel_send, 2>(env, "channel_send", argv);
  }
  return encode_error(env, outcome, encoder);
}

ERL_NIF_TERM channel_try_receive(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ChannelResource* const resource = channel_in(env, argv[0], Channel::Content::terms);
  if (resource == nullptr) return invalid_channel(env);
  if (copies_too_much(resource->core())) {
    return continue_dirty<channel_try_receive, 1>(env, "channel_try_receive", argv);
  }
  std::unique_ptr<Message>& message = per_thread<Scratch>().message;
  const Status status = resource->core().try_receive(*message);
  return status == Status::ok ? deliver(env, message) : receive_error(env, status);
}

ERL_NIF_TERM channel_close(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ChannelResource* const resource = Resource<ChannelResource>::get(env, argv[0]);
  if (resource == nullptr) return invalid_channel(env);
  Channel& channel = resource->core();
  std::uint32_t const waiting =
      channel.data_waiters().waiting() + channel.space_waiters().waiting();
  if (waiting > kMaxWakesAtOnce && on_normal_scheduler()) {
    return continue_dirty<channel_close, 1>(env, "channel_close", argv);
  }
  channel.close();
  return atoms().ok;
}

namespace {

template <Channel::Content Content>
ERL_NIF_TERM info_of(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ChannelResource* const resource = channel_in(env, argv[0], Content);
  if (resource == nullptr) return invalid_channel(env);
  const Channel& channel = resource->core();
  ERL_NIF_TERM keys[] = {atoms().size, atoms().max_size, atoms().closed, atoms().pinned};
  ERL_NIF_TERM values[] = {enif_make_uint64(env, channel.size()),
                           enif_make_uint64(env, channel.max_size()),
                           channel.is_closed() ? atoms().true_ : atoms().false_,
                           enif_make_uint64(env, channel.pinned())};
  // py_channel:info/1 has had three keys since before there were byte channels.
  constexpr std::size_t kCount = Content == Channel::Content::bytes ? 4 : 3;
  ERL_NIF_TERM info{};
  if (enif_make_map_from_arrays(env, keys, values, kCount, &info) == 0) throw std::bad_alloc();
  return info;
}

}  // namespace

ERL_NIF_TERM channel_info(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return info_of<Channel::Content::terms>(env, argv);
}

ERL_NIF_TERM byte_channel_info(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return info_of<Channel::Content::bytes>(env, argv);
}

}  // namespace penstock::nif
