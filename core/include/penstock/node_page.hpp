// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "penstock/ring_layout.hpp"
#include "penstock/shim.hpp"

namespace penstock {

/// What is alive in a VM: for py:stats/0 and `penstock top`, and tests end by comparing it with how
/// they began. Append only: others read it where it lies.
/// Threads: any; every access is relaxed, because nothing is decided by these numbers (except the
/// limit on atoms, for which the sum alone matters).
struct NodeCounters {
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

/// The memory of a sealed memfd that nobody but the VM maps, unless to look at it.
struct NodePage {
  static constexpr std::uint32_t kMagic = 0x65646F6E;  // "node" in memory on x86-64.
  static constexpr std::uint32_t kVersion = 1;

  std::uint32_t magic;
  std::uint32_t version;
  alignas(kSharedLine) NodeCounters counters;
};
static_assert(offsetof(NodePage, counters) == kSharedLine);

}  // namespace penstock
