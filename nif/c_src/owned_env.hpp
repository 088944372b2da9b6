// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

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

}  // namespace penstock::nif
