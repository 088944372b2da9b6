// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "cases.hpp"

namespace penstock::model {
namespace {

using Holds = testing::TestWithParam<Case>;

/// PENSTOCK_MODEL_RANDOM=1000000 PENSTOCK_MODEL_SEED=42 walks far beyond the search.
Plan plan_of(const Case& it) {
  Plan plan = it.plan;
  if (const char* walks = std::getenv("PENSTOCK_MODEL_RANDOM")) {
    plan.random_executions = std::strtoull(walks, nullptr, 10);
    plan.limits = {.preemptions = 1'000, .stale_reads = 1'000};
    plan.most_executions = 0;
  }
  if (const char* seed = std::getenv("PENSTOCK_MODEL_SEED")) {
    plan.seed = std::strtoull(seed, nullptr, 10);
  }
  return plan;
}

TEST_P(Holds, InEveryExplored) {
  const auto begin = std::chrono::steady_clock::now();
  const Outcome outcome = explore(GetParam().scenario, plan_of(GetParam()));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::printf("%9llu executions (%llu of them equivalent to others), %.1f steps each, %s, %.2f s\n",
              static_cast<unsigned long long>(outcome.executions),
              static_cast<unsigned long long>(outcome.pruned),
              static_cast<double>(outcome.steps) / static_cast<double>(outcome.executions),
              outcome.complete ? "complete within bounds" : "cut short", took.count());
  EXPECT_FALSE(outcome.failed) << outcome.failure;
}

INSTANTIATE_TEST_SUITE_P(Scenario, Holds, testing::ValuesIn(all_cases()),
                         [](const auto& it) { return std::string(it.param.name); });

}  // namespace
}  // namespace penstock::model
