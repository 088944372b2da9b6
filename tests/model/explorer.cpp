// SPDX-License-Identifier: Apache-2.0
#include "explorer.hpp"

#include "engine.hpp"

namespace penstock::model {

namespace {

/// One engine for all explorations: its memory is large, and cleared where it was used.
Engine& the_engine() {
  static auto* const engine = new Engine;
  (void)OrderSites::instance();  // Not first in an execution, or its memory would be the arena's.
  return *engine;
}

/// What runs as thread 0.
Scenario current_scenario = nullptr;

void run_scenario() {
  current_scenario();
  drain_slabs();
  if (has_died()) return;
  if (!have_all_started_run()) fail("a thread that core has started did not run");
  if (active->arena.live_blocks() != 0) fail("a block of memory was not freed");
}

/// True: it failed.
bool execute(Engine& engine, Scenario scenario) {
  engine.arena.reset();
  engine.shadow.reset();
  engine.memory.reset();
  forget_started();
  engine.failure.clear();
  current_scenario = scenario;
  active = &engine;
  engine.scheduler.run(&run_scenario);
  active = nullptr;
  return !engine.failure.empty();
}

void count(const Engine& engine, Outcome& outcome) {
  ++outcome.executions;
  outcome.steps += engine.scheduler.steps();
  if (engine.scheduler.pruned()) ++outcome.pruned;
}

/// Leaves the middle out of what is too long to read.
std::string shortened(const std::string& trace) {
  constexpr std::size_t kHead = 6'000;
  constexpr std::size_t kTail = 10'000;
  if (trace.size() <= kHead + kTail) return trace;
  std::size_t const head = trace.find('\n', kHead) + 1;
  return trace.substr(0, head) + "  ...\n" +
         trace.substr(trace.find('\n', trace.size() - kTail) + 1);
}

/// Runs the same execution again, this time writing down what happens.
void report(Engine& engine, Scenario scenario, std::string how, Outcome& outcome) {
  std::string const first = engine.failure;
  engine.decisions.repeat();
  engine.trace.clear();
  engine.tracing = true;
  execute(engine, scenario);
  engine.tracing = false;
  outcome.failed = true;
  outcome.failure = first + "\n  (" + std::move(how) + ")\n" + shortened(engine.trace);
  if (engine.failure != first) outcome.failure += "  the replay ended otherwise: " + engine.failure;
}

}  // namespace

Outcome explore(Scenario scenario, const Plan& plan) {
  Engine& engine = the_engine();
  Outcome outcome;
  if (plan.random_executions != 0) engine.decisions.start_random(plan.limits, plan.seed);
  while (outcome.executions < plan.random_executions) {
    (void)engine.decisions.next();
    const bool failed = execute(engine, scenario);
    count(engine, outcome);
    if (failed) {
      report(engine, scenario,
             "random walk " + std::to_string(outcome.executions) + ", seed " +
                 std::to_string(plan.seed),
             outcome);
      return outcome;
    }
  }
  engine.decisions.start_search(plan.limits);
  for (std::uint64_t searched = 0; searched < plan.most_executions; ++searched) {
    if (!engine.decisions.next()) {
      outcome.complete = true;
      return outcome;
    }
    const bool failed = execute(engine, scenario);
    count(engine, outcome);
    if (failed) {
      report(engine, scenario, "execution " + std::to_string(searched + 1) + " of the search",
             outcome);
      return outcome;
    }
  }
  return outcome;
}

void require(bool holds, const char* what) {
  if (!holds) fail(what);
}

void spawn(void (*body)(void*), void* argument) { active->scheduler.spawn(body, argument); }

void may_die() { active->scheduler.may_die(); }
bool has_died() { return active->scheduler.has_died(); }
void await_end(unsigned thread) { active->scheduler.await_end(thread); }
void join_all() { active->scheduler.join_all(); }

}  // namespace penstock::model
