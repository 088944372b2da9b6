// SPDX-License-Identifier: Apache-2.0
#include <new>
#include <utility>

#include "atoms.hpp"
#include "counters.hpp"
#include "guard.hpp"
#include "nifs.hpp"
#include "penstock/memory.hpp"

namespace penstock::nif {

ERL_NIF_TERM debug_counters(ErlNifEnv* env, const ERL_NIF_TERM* /*argv*/) {
  const std::pair<ERL_NIF_TERM, const Atomic<std::int64_t>&> all[] = {
      {atoms().channels, counters().channels},
      {atoms().buffers, counters().buffers},
      {atoms().waiters, counters().waiters},
      {atoms().calls, counters().calls},
      {atoms().contexts, counters().contexts},
      {atoms().pinned_bytes, counters().pinned_bytes},
      {atoms().atoms_created, counters().atoms_created},
      {atoms().dropped_sends, counters().dropped_sends},
  };
  ERL_NIF_TERM map = enif_make_new_map(env);
  for (const auto& [name, counter] : all) {
    const ERL_NIF_TERM value = enif_make_int64(env, counter.load(order::relaxed));
    if (enif_make_map_put(env, map, name, value, &map) == 0) throw std::bad_alloc();
  }
  return map;
}

ERL_NIF_TERM debug_fail_allocations(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  unsigned long countdown{};
  if (enif_get_ulong(env, argv[0], &countdown) == 0) throw BadArg();
  memory::fail_after(countdown);
  return atoms().ok;
}

}  // namespace penstock::nif
