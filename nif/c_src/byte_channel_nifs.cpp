// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>

#include "atoms.hpp"
#include "byte_message.hpp"
#include "channel_resource.hpp"
#include "delivery.hpp"
#include "guard.hpp"
#include "nifs.hpp"
#include "scratch.hpp"
#include "waiting.hpp"

namespace penstock::nif {

namespace {

/// Messages of one batch that are handled in one NIF call.
constexpr std::uint32_t kMaxSendBatch = 1000;
constexpr std::uint32_t kMaxReceiveBatch = 256;

const ChannelResource* byte_channel_in(ErlNifEnv* env, ERL_NIF_TERM term) noexcept {
  return channel_in(env, term, Channel::Content::bytes);
}

}  // namespace

ERL_NIF_TERM byte_channel_new(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  ErlNifUInt64 max_size{};
  if (enif_get_uint64(env, argv[0], &max_size) == 0) throw BadArg();
  Ref<Channel> channel = Channel::create(max_size, Channel::Content::bytes);
  if (!channel) return make_error(env, atoms().enomem);
  return make_ok(env, Resource<ChannelResource>::make(std::move(channel)).term(env));
}

ERL_NIF_TERM byte_channel_send(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ByteMessage bytes(env, argv[1]);
  const ChannelResource* const resource = byte_channel_in(env, argv[0]);
  if (resource == nullptr) return make_error(env, atoms().invalid_channel);
  Message message;
  if (!bytes.put(message)) return make_error(env, atoms().enomem);
  if (copies_too_much(resource->core(), message)) {
    return continue_dirty<byte_channel_send, 2>(env, "byte_channel_send", argv);
  }
  return send_result(env, resource->core().try_send(message));
}

/// ok, or {busy, Rest}, or {{error, Reason}, Rest}: Rest was not sent.
ERL_NIF_TERM byte_channel_send_many(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ChannelResource* const resource = byte_channel_in(env, argv[0]);
  if (resource == nullptr) return make_error(env, atoms().invalid_channel);
  ERL_NIF_TERM head{};
  ERL_NIF_TERM rest = argv[1];
  std::uint64_t copied = 0;
  for (std::uint32_t sent = 0; sent < kMaxSendBatch; ++sent) {
    ERL_NIF_TERM tail{};
    if (enif_get_list_cell(env, rest, &head, &tail) == 0) {
      if (enif_is_empty_list(env, rest) == 0) throw BadArg();
      return atoms().ok;
    }
    const ByteMessage bytes(env, head);
    Message message;
    const bool has_memory = bytes.put(message);
    copied += message.cost();
    if (resource->core().shared() != nullptr && copied > kMaxBytesAtOnce && on_normal_scheduler()) {
      const ERL_NIF_TERM again[] = {argv[0], rest};
      return continue_dirty<byte_channel_send_many, 2>(env, "byte_channel_send_many", again);
    }
    const Status status = has_memory ? resource->core().try_send(message) : Status::out_of_memory;
    if (status != Status::ok) return enif_make_tuple2(env, send_result(env, status), rest);
    rest = tail;
  }
  const ERL_NIF_TERM again[] = {argv[0], rest};
  return enif_schedule_nif(env, "byte_channel_send_many", 0, guarded<byte_channel_send_many>, 2,
                           again);
}

ERL_NIF_TERM byte_channel_try_receive(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ChannelResource* const resource = byte_channel_in(env, argv[0]);
  if (resource == nullptr) return make_error(env, atoms().invalid_channel);
  if (copies_too_much(resource->core())) {
    return continue_dirty<byte_channel_try_receive, 1>(env, "byte_channel_try_receive", argv);
  }
  std::unique_ptr<Message>& message = per_thread<Scratch>().message;
  const Status status = resource->core().try_receive(*message);
  return status == Status::ok ? deliver_bytes(env, message) : receive_error(env, status);
}

/// {ok, Binaries}, at least one and at most as many as asked for (or kMaxReceiveBatch).
ERL_NIF_TERM byte_channel_try_receive_many(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ChannelResource* const resource = byte_channel_in(env, argv[0]);
  if (resource == nullptr) return make_error(env, atoms().invalid_channel);
  unsigned wanted{};
  if (enif_get_uint(env, argv[1], &wanted) == 0 || wanted == 0) throw BadArg();
  std::unique_ptr<Message>& message = per_thread<Scratch>().message;
  ERL_NIF_TERM received[kMaxReceiveBatch];
  unsigned count = 0;
  std::uint64_t copied = 0;
  Status status = Status::ok;
  while (count < std::min(wanted, kMaxReceiveBatch)) {
    if (const SharedStore* const shared = resource->core().shared()) {
      copied += shared->next_size();
      if (copied > kMaxBytesAtOnce && on_normal_scheduler()) {
        if (count != 0) break;  // Not so many, then.
        return continue_dirty<byte_channel_try_receive_many, 2>(
            env, "byte_channel_try_receive_many", argv);
      }
    }
    status = resource->core().try_receive(*message);
    if (status != Status::ok) break;
    received[count++] = take_bytes(env, message);
  }
  if (count == 0) return receive_error(env, status);
  return make_ok(env, enif_make_list_from_array(env, received, count));
}

ERL_NIF_TERM byte_channel_send_wait(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ByteMessage bytes(env, argv[1]);
  const ChannelResource* const resource = byte_channel_in(env, argv[0]);
  if (resource == nullptr) return make_error(env, atoms().invalid_channel);
  Message message;
  if (!bytes.put(message)) return make_error(env, atoms().enomem);
  if (copies_too_much(resource->core(), message)) {
    return continue_dirty<byte_channel_send_wait, 3>(env, "byte_channel_send_wait", argv);
  }
  const auto waiter =
      wait_in_line(env, Ref<Object>::borrow(&resource->core()), resource->core().space_waiters(),
                   ProcessWaiter::For::room_in_channel, argv[2]);
  return send_in_line(env, *waiter, message);
}

ERL_NIF_TERM byte_channel_send_again(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ByteMessage bytes(env, argv[1]);
  ProcessWaiter& waiter = own_waiter(env, argv[0], ProcessWaiter::For::room_in_channel);
  Message message;
  const bool has_memory = bytes.put(message);
  if (copies_too_much(channel_of(waiter), message)) {
    return continue_dirty<byte_channel_send_again, 2>(env, "byte_channel_send_again", argv);
  }
  waiter.looked();
  if (!has_memory) {
    waiter.pass_on();
    return make_error(env, atoms().enomem);
  }
  waiter.arm();
  return send_in_line(env, waiter, message);
}

}  // namespace penstock::nif
