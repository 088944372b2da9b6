// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/shim.hpp"

namespace penstock::nif {

/// What is alive, for py_nif:debug_counters/0: tests end by comparing it with how they began.
/// Threads: any; every access is relaxed, because nothing is decided by these numbers (except the
/// limit on atoms, for which the sum alone matters).
struct Counters {
  Atomic<std::int64_t> channels{0};  ///< Channels that Erlang refers to.
  Atomic<std::int64_t> buffers{0};   ///< Buffers that Erlang refers to.
  Atomic<std::int64_t> waiters{0};   ///< Waits of Erlang processes.
  Atomic<std::int64_t> calls{0};
  Atomic<std::int64_t> contexts{0};
  Atomic<std::int64_t> event_loops{0};  ///< Of event_loop_new/0: threads.
  Atomic<std::int64_t> pinned_bytes{0};
  Atomic<std::int64_t> atoms_created{0};
  Atomic<std::int64_t> dropped_sends{0};  ///< Answers and wake-ups whose process was gone.
};

namespace detail {
inline constinit Counters counters;
}  // namespace detail

[[nodiscard]] inline Counters& counters() noexcept { return detail::counters; }

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
