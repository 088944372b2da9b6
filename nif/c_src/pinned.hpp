// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include "penstock/wire.hpp"

namespace penstock::nif {

/// A large Erlang binary, alive while Python or a queue refers to it.
///
/// Held by an I/O vector, which is the one owner of a binary that the VM offers besides a whole
/// environment, and takes a third of the time.
class PinnedBinary final : public wire::PinnedBytes {
 public:
  /// `binary` is a binary of whole bytes in `env`, the calling NIF's. nullptr when memory ran out.
  [[nodiscard]] static Ref<wire::PinnedBytes> create(ErlNifEnv* env, ERL_NIF_TERM binary) noexcept;

  /// The binary itself, or a part of it, as it was. Throws bad_alloc.
  [[nodiscard]] ERL_NIF_TERM term(ErlNifEnv* env) const;

 private:
  explicit PinnedBinary(ErlNifIOVec* vector) noexcept;
  ~PinnedBinary() override;
  ErlNifIOVec* const vector_;
};

}  // namespace penstock::nif
