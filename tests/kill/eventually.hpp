// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>

#include "penstock/shim.hpp"

namespace penstock::kill {

/// For waits that do not end if the code is wrong.
inline constexpr std::int64_t kPatience_ns = 20'000'000'000;

/// True once `condition` holds.
template <class Condition>
[[nodiscard]] bool eventually(Condition condition) {
  std::int64_t const until = now_ns() + kPatience_ns;
  while (!condition()) {
    if (now_ns() > until) return false;
    sched_yield();
  }
  return true;
}

}  // namespace penstock::kill
