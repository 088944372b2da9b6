// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <cstdint>
#include <span>

#include "guard.hpp"
#include "penstock/bytes.hpp"
#include "pinned.hpp"

namespace penstock::nif {

/// A binary on its way out of Erlang: copied if it is short, referred to if it is long.
class ByteMessage {
 public:
  /// Throws BadArg unless `term` is a binary.
  ByteMessage(ErlNifEnv* env, ERL_NIF_TERM term) : env_(env), term_(term) {
    if (enif_inspect_binary(env, term, &binary_) == 0) throw BadArg();
  }

  [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept {
    return {binary_.data, binary_.size};
  }
  /// nullptr when memory ran out.
  [[nodiscard]] Ref<wire::PinnedBytes> pin() const noexcept {
    return PinnedBinary::create(env_, term_);
  }

  /// Fills an empty message. False when memory ran out.
  [[nodiscard]] bool put(Message& message) const noexcept {
    if (binary_.size < bytes::kReferThreshold) return bytes::copy_into(message, bytes());
    Ref<wire::PinnedBytes> pinned = pin();
    return pinned && bytes::refer_to(message, std::move(pinned));
  }

 private:
  ErlNifEnv* const env_;
  const ERL_NIF_TERM term_;
  ErlNifBinary binary_{};
};

}  // namespace penstock::nif
