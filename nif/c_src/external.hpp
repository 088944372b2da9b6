// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <cstdint>
#include <span>

namespace penstock::nif {

/// A term in external term format, version byte included. Empty when memory ran out.
class External {
 public:
  External(ErlNifEnv* env, ERL_NIF_TERM term) noexcept
      : made_(enif_term_to_binary(env, term, &binary_) != 0) {}
  External(const External&) = delete;
  External& operator=(const External&) = delete;
  ~External() {
    if (made_) enif_release_binary(&binary_);
  }

  [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept {
    return made_ ? std::span<const std::uint8_t>(binary_.data, binary_.size)
                 : std::span<const std::uint8_t>();
  }

 private:
  ErlNifBinary binary_{};
  const bool made_;
};

}  // namespace penstock::nif
