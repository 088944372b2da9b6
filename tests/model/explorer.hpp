// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "decisions.hpp"

/// Runs real code under all schedules and weak-memory behaviours, within bounds.
///
/// A scenario is a function without arguments. It runs as thread 0 and may start others with
/// parallel(). It must be deterministic, free what it allocates, and state what it expects with
/// require().
namespace penstock::model {

using Scenario = void (*)();

struct Plan {
  Limits limits;                            ///< Of the search and of the random walks.
  std::uint64_t most_executions = 200'000;  ///< Where the search gives up.
  std::uint64_t random_executions = 0;      ///< Random walks before the search.
  std::uint64_t seed = 1;
};

struct Outcome {
  bool failed = false;
  bool complete = false;  ///< The search saw everything within its bounds.
  std::string failure;    ///< What went wrong, how to see it again, and the failing schedule.
  std::uint64_t executions = 0;
  std::uint64_t pruned = 0;  ///< Of these, cut short as equivalent to others.
  std::uint64_t steps = 0;
};

/// Explores until a failure, the end, or the plan's bounds.
[[nodiscard]] Outcome explore(Scenario scenario, const Plan& plan);

/// Fails the execution unless `holds`. In scenarios only.
void require(bool holds, const char* what);

void spawn(void (*body)(void*), void* argument);
void join_all();

/// Runs each body in a model thread of its own, at the same time; returns when all have ended.
template <class... Body>
void parallel(const Body&... bodies) {
  (spawn([](void* body) { (*static_cast<const Body*>(body))(); }, const_cast<Body*>(&bodies)), ...);
  join_all();
}

/// The process of the calling thread may die from here on, before any step: nothing of it is
/// undone, and blocks may be left. One in an execution.
///
/// What it had done then is visible to who awaits its end, as if the kernel had told him. But a
/// compiler may have put a store behind later ones, unless one of them is a release, or a fence
/// lies between: so any of those may be missing.
void may_die();
[[nodiscard]] bool has_died();
/// Sleeps until a thread of parallel() has ended; 1 is the first. What it did is visible.
void await_end(unsigned thread);

/// Threads that core has started wait for this; 0 is the first. Each must run before the end.
void run_started(unsigned which);

// For memory_model.cpp and machine_model.cpp.
void* allocate_block(std::size_t bytes, std::size_t alignment) noexcept;
void release_block(void* block) noexcept;
void drain_slabs() noexcept;
void forget_started() noexcept;
[[nodiscard]] bool have_all_started_run() noexcept;

}  // namespace penstock::model
