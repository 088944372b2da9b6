// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/node_page.hpp"
#include "penstock/shim.hpp"

namespace penstock::nif {

using Counters = NodeCounters;

namespace detail {
inline constinit Counters own_counters;
inline constinit Counters* counters = &own_counters;  // Written at most once, at load.
}  // namespace detail

[[nodiscard]] inline Counters& counters() noexcept { return *detail::counters; }

/// From now on they lie where `penstock top` finds them, if there is memory for that. At load,
/// before anything is counted.
void publish_counters() noexcept;

inline void count(Atomic<std::int64_t>& counter, std::int64_t by = 1) noexcept {
  counter.fetch_add(by, order::relaxed);
}

/// Counts an object as long as it lives; a member of what is to be counted.
template <Atomic<std::int64_t> Counters::*Counter>
class Counted {
 public:
  Counted() noexcept { count(counters().*Counter); }
  ~Counted() { count(counters().*Counter, -1); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
};

}  // namespace penstock::nif
