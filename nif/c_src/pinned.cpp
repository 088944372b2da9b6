// SPDX-License-Identifier: Apache-2.0
#include "pinned.hpp"

#include <new>

namespace penstock::nif {

Ref<wire::PinnedBytes> PinnedBinary::create(ERL_NIF_TERM binary) noexcept {
  return Ref<wire::PinnedBytes>::steal(new (std::nothrow) PinnedBinary(binary));
}

PinnedBinary::PinnedBinary(ERL_NIF_TERM binary) noexcept
    : wire::PinnedBytes({}), binary_(enif_make_copy(env_.get(), binary)) {
  // Of the copy: the original may be a binary that is being appended to, whose bytes move.
  ErlNifBinary inspected{};
  (void)enif_inspect_binary(env_.get(), binary_, &inspected);
  bytes_ = {inspected.data, inspected.size};
  count(counters().pinned_bytes, static_cast<std::int64_t>(inspected.size));
}

PinnedBinary::~PinnedBinary() {
  count(counters().pinned_bytes, -static_cast<std::int64_t>(bytes_.size()));
}

}  // namespace penstock::nif
