// SPDX-License-Identifier: Apache-2.0
#include "penstock/python/runtime.hpp"

#include <mutex>
#include <new>

#include "own_interpreter.hpp"
#include "runtime_thread.hpp"

namespace penstock::python {

namespace {

// Written once, when Python has started, and never destroyed: neither is Python.
constinit std::mutex start_mutex;
constinit Atomic<RuntimeThread*> process_runtime{nullptr};
constinit std::string* start_failure = nullptr;

}  // namespace

RuntimeThread* runtime_thread() noexcept { return process_runtime.load(order::acquire("K3")); }

std::string start_runtime(const RuntimeConfig& config) {
  const std::lock_guard lock(start_mutex);
  if (runtime_thread() != nullptr) return {};
  if (start_failure != nullptr) return *start_failure;
  auto* const runtime = new RuntimeThread(config, Ref<Home>::borrow(&Home::main()));
  std::string failure = runtime->start();
  if (failure.empty()) {
    process_runtime.store(runtime, order::release("K3"));
  } else {
    // An interpreter that failed half-way cannot be started again.
    start_failure = new std::string(failure);
  }
  return failure;
}

std::string adopt_runtime(ModuleState& state) {
  const std::lock_guard lock(start_mutex);
  auto* const runtime = new RuntimeThread({}, Ref<Home>::borrow(&Home::main()));
  std::string failure = runtime->enter(PyInterpreterState_Get(), state);
  if (failure.empty()) process_runtime.store(runtime, order::release("K3"));
  return failure;
}

std::string runtime_version() { return runtime_thread() != nullptr ? Py_GetVersion() : ""; }

RuntimeFeatures runtime_features() {
#ifdef Py_GIL_DISABLED
  constexpr bool kIsFreeThreaded = true;
#else
  constexpr bool kIsFreeThreaded = false;
#endif
  return {PY_VERSION, kIsFreeThreaded, no_own_interpreters()};
}

std::int64_t own_interpreters() noexcept { return OwnInterpreter::living(); }

void set_stopped(bool stopped) noexcept { parking().set_stopped(stopped); }

}  // namespace penstock::python
