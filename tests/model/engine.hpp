// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include "arena.hpp"
#include "decisions.hpp"
#include "scheduler.hpp"
#include "shadow.hpp"
#include "weak_memory.hpp"

namespace penstock::model {

/// Everything that one exploration uses, and what came of the running execution.
struct Engine {
  Arena arena;
  Shadow shadow{arena};
  Decisions decisions;
  WeakMemory memory{shadow, arena, decisions};
  Scheduler scheduler{arena, memory, decisions};

  bool tracing = false;
  std::string trace;
  std::string failure;
};

/// The engine while a model thread runs scenario or core code, else nullptr. Global because the
/// shim, operator new and the compiler's instrumentation have no context argument.
inline constinit Engine* active = nullptr;

/// While it lives, allocations are the explorer's own.
class Suspended {
 public:
  Suspended() : engine_(std::exchange(active, nullptr)) {}
  ~Suspended() { active = engine_; }
  Suspended(const Suspended&) = delete;
  Suspended& operator=(const Suspended&) = delete;

 private:
  Engine* engine_;
};

/// Ends the execution as failed. On a model thread only.
[[noreturn]] void fail(const std::string& what);
[[noreturn]] void fail(const char* what);
[[noreturn]] void fail_race(const char* access, const char* problem, const void* address,
                            unsigned other);

}  // namespace penstock::model
