// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ostream>
#include <span>
#include <vector>

#include "explorer.hpp"

namespace penstock::model {

/// One scenario on real core code. scenarios_model.cpp expects all of them to hold,
/// mutation_model.cpp some of them to fail for each weakened order.
struct Case {
  const char* name;  ///< A sentence in CamelCase: what holds in every execution.
  Scenario scenario;
  Plan plan;
};

/// For GoogleTest.
inline void PrintTo(const Case& it, std::ostream* out) { *out << it.name; }

[[nodiscard]] std::span<const Case> queue_cases();
[[nodiscard]] std::span<const Case> channel_cases();
[[nodiscard]] std::span<const Case> waiter_cases();
[[nodiscard]] std::span<const Case> mailbox_cases();
[[nodiscard]] std::span<const Case> ring_cases();
[[nodiscard]] std::span<const Case> object_cases();
[[nodiscard]] std::span<const Case> stream_cases();
[[nodiscard]] std::span<const Case> position_line_cases();
[[nodiscard]] std::span<const Case> sleep_state_cases();
[[nodiscard]] std::span<const Case> doorbell_cases();
[[nodiscard]] std::span<const Case> far_line_cases();
[[nodiscard]] std::span<const Case> shared_queue_cases();
[[nodiscard]] std::span<const Case> domain_cases();
[[nodiscard]] std::span<const Case> shared_stream_cases();
[[nodiscard]] std::span<const Case> death_cases();

[[nodiscard]] std::vector<Case> all_cases();

}  // namespace penstock::model
