// SPDX-License-Identifier: Apache-2.0
#include "engine.hpp"

#include <cstdio>
#include <cstdlib>

namespace penstock::model {

void fail(const char* what) { fail(std::string(what)); }

void fail(const std::string& what) {
  Engine* const engine = active;
  if (engine == nullptr) {
    std::fprintf(stderr, "explorer: %s\n", what.c_str());
    std::abort();
  }
  {
    const Suspended no_arena;
    engine->failure = what;
  }
  engine->scheduler.stop();
}

void fail_race(const char* access, const char* problem, const void* address, unsigned other) {
  Engine& engine = *active;
  std::string what;
  {
    const Suspended no_arena;
    char where[32];
    std::snprintf(where, sizeof where, "+0x%zx",
                  reinterpret_cast<std::uintptr_t>(address) - engine.arena.base());
    what = "data race: " + std::string(access) + " of T" + std::to_string(engine.scheduler.me()) +
           " at " + where + " is not ordered after " + problem + " of T" + std::to_string(other);
  }
  fail(what);
}

}  // namespace penstock::model
