// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include "counters.hpp"
#include "owned_env.hpp"
#include "penstock/wire.hpp"

namespace penstock::nif {

/// A large Erlang binary, alive while Python or a queue refers to it.
class PinnedBinary final : public wire::PinnedBytes {
 public:
  /// `binary` is a binary of whole bytes. nullptr when memory ran out.
  [[nodiscard]] static Ref<wire::PinnedBytes> create(ERL_NIF_TERM binary) noexcept;

  /// The binary itself, without a copy of its bytes.
  [[nodiscard]] ERL_NIF_TERM term(ErlNifEnv* env) const noexcept {
    return enif_make_copy(env, binary_);
  }

 private:
  explicit PinnedBinary(ERL_NIF_TERM binary) noexcept;
  ~PinnedBinary() override;
  const OwnedEnv env_;
  const ERL_NIF_TERM binary_;
};

}  // namespace penstock::nif
