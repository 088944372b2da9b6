// SPDX-License-Identifier: Apache-2.0
#include "pinned.hpp"

#include <cassert>
#include <new>

#include "counters.hpp"

namespace penstock::nif {

Ref<wire::PinnedBytes> PinnedBinary::create(ErlNifEnv* env, ERL_NIF_TERM binary) noexcept {
  const ERL_NIF_TERM list = enif_make_list1(env, binary);
  ERL_NIF_TERM tail{};
  ErlNifIOVec* vector = nullptr;
  // Without an environment it belongs to us. A binary that is being appended to, and may move then,
  // is made one that does not.
  if (enif_inspect_iovec(nullptr, 1, list, &tail, &vector) == 0) return {};
  auto* const pinned = new (std::nothrow) PinnedBinary(vector);
  if (pinned == nullptr) enif_free_iovec(vector);
  return Ref<wire::PinnedBytes>::steal(pinned);
}

PinnedBinary::PinnedBinary(ErlNifIOVec* vector) noexcept
    : wire::PinnedBytes(
          {reinterpret_cast<const std::uint8_t*>(vector->iov[0].iov_base), vector->iov[0].iov_len}),
      vector_(vector) {
  assert(vector->iovcnt == 1);
  count(counters().pinned_bytes, static_cast<std::int64_t>(bytes_.size()));
}

/// By way of a queue of the VM's, which is what makes terms of vectors. Not by a resource: a binary
/// that goes round and round would get one more around it each time.
ERL_NIF_TERM PinnedBinary::term(ErlNifEnv* env) const {
  ErlNifIOQueue* const queue = enif_ioq_create(ERL_NIF_IOQ_NORMAL);
  if (queue == nullptr) throw std::bad_alloc();
  ERL_NIF_TERM term{};
  const bool made =
      enif_ioq_enqv(queue, vector_, 0) != 0 && enif_ioq_peek_head(env, queue, nullptr, &term) != 0;
  enif_ioq_destroy(queue);
  if (!made) throw std::bad_alloc();
  return term;
}

PinnedBinary::~PinnedBinary() {
  count(counters().pinned_bytes, -static_cast<std::int64_t>(bytes_.size()));
  enif_free_iovec(vector_);
}

}  // namespace penstock::nif
