// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "atoms.hpp"
#include "channel_resource.hpp"
#include "counters.hpp"
#include "delivery.hpp"
#include "guard.hpp"
#include "nifs.hpp"
#include "penstock/memory.hpp"
#include "penstock/python/runtime.hpp"

namespace penstock::nif {

ERL_NIF_TERM debug_counters(ErlNifEnv* env, const ERL_NIF_TERM* /*argv*/) {
  const std::pair<ERL_NIF_TERM, std::int64_t> all[] = {
      {atoms().channels, counters().channels.load(order::relaxed)},
      {atoms().buffers, counters().buffers.load(order::relaxed)},
      {atoms().waiters, counters().waiters.load(order::relaxed)},
      {atoms().calls, counters().calls.load(order::relaxed)},
      {atoms().contexts, counters().contexts.load(order::relaxed)},
      {atoms().event_loops, counters().event_loops.load(order::relaxed)},
      {atoms().pinned_bytes, counters().pinned_bytes.load(order::relaxed)},
      {atoms().atoms_created, counters().atoms_created.load(order::relaxed)},
      {atoms().dropped_sends, counters().dropped_sends.load(order::relaxed)},
      {atoms().interpreters, python::own_interpreters()},
  };
  ERL_NIF_TERM map = enif_make_new_map(env);
  for (const auto& [name, count] : all) {
    if (enif_make_map_put(env, map, name, enif_make_int64(env, count), &map) == 0) {
      throw std::bad_alloc();
    }
  }
  return map;
}

ERL_NIF_TERM debug_decode(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  ErlNifBinary bytes{};
  if (enif_inspect_binary(env, argv[0], &bytes) == 0) throw BadArg();
  auto message = std::make_unique<Message>();
  std::uint8_t* const room = message->extend(bytes.size);
  if (room == nullptr) throw std::bad_alloc();
  if (bytes.size != 0) std::memcpy(room, bytes.data, bytes.size);
  message->mark_foreign();
  return deliver(env, message);
}

ERL_NIF_TERM debug_fail_allocations(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  unsigned long countdown{};
  if (enif_get_ulong(env, argv[0], &countdown) == 0) throw BadArg();
  memory::fail_after(countdown);
  return atoms().ok;
}

ERL_NIF_TERM debug_waiting(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const ChannelResource* const resource = Resource<ChannelResource>::get(env, argv[0]);
  if (resource == nullptr) return make_error(env, atoms().invalid_channel);
  Channel& channel = resource->core();
  return enif_make_tuple2(env, enif_make_uint(env, channel.data_waiters().waiting()),
                          enif_make_uint(env, channel.space_waiters().waiting()));
}

}  // namespace penstock::nif
