// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <cstddef>
#include <utility>

namespace penstock::nif {

/// Owns a process independent environment. Threads: one at a time.
class OwnedEnv {
 public:
  OwnedEnv() noexcept : env_(enif_alloc_env()) {}
  OwnedEnv(const OwnedEnv&) = delete;
  OwnedEnv& operator=(const OwnedEnv&) = delete;
  ~OwnedEnv() { enif_free_env(env_); }

  [[nodiscard]] ErlNifEnv* get() const noexcept { return env_; }

 private:
  ErlNifEnv* const env_;
};

/// Sends `term`, which is of `env` and took `wire_size` bytes in wire form. False: nobody is there.
///
/// A small one is copied: an environment that is given away has room for 400 words and more, which
/// the receiver keeps until it collects, while this one's is used again at once.
[[nodiscard]] inline bool send_out_of(ErlNifEnv* env, const ErlNifPid& to, ERL_NIF_TERM term,
                                      std::size_t wire_size) noexcept {
  constexpr std::size_t kSmall = 512;
  return enif_send(nullptr, &to, wire_size <= kSmall ? nullptr : env, term) != 0;
}

}  // namespace penstock::nif
