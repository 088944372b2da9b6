// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <cstdint>
#include <utility>

#include "owned_env.hpp"
#include "penstock/ref.hpp"

namespace penstock::nif {

/// Terms of a few words, mostly references, that one thread puts there and any thread copies: an
/// environment for each would cost more than all else that a call needs.
///
/// Threads: add() that of the owner (see KeptReference); the terms, once added, any.
class KeptTerms final : public Object {
 public:
  static constexpr std::uint32_t kRoom = 64;
  [[nodiscard]] bool is_full() const noexcept { return count_ == kRoom; }
  [[nodiscard]] ERL_NIF_TERM add(ERL_NIF_TERM term) noexcept {
    ++count_;
    return enif_make_copy(env_.get(), term);
  }

 private:
  ~KeptTerms() override = default;
  const OwnedEnv env_;
  std::uint32_t count_ = 0;
};

/// A reference that outlives the NIF call it came with. Throws bad_alloc.
class KeptReference {
 public:
  explicit KeptReference(ERL_NIF_TERM reference);
  /// For as long as this lives.
  [[nodiscard]] ERL_NIF_TERM term() const noexcept { return term_; }

 private:
  Ref<KeptTerms> among_;
  ERL_NIF_TERM term_;
};

}  // namespace penstock::nif
