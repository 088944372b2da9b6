// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>

#include "module_state.hpp"
#include "parking.hpp"
#include "penstock/python/runtime.hpp"

namespace penstock::python {

/// A thread of Python code that interrupts can be delivered to.
struct Target : public Object {
  Interruptible interrupts;
  /// While it runs requests. With the GIL.
  PyThreadState* python = nullptr;
  Target* next = nullptr;  ///< RuntimeThread's.
  Target* previous = nullptr;
};

/// The interpreter's main thread: starts it, and does for threads that must not take the GIL what
/// needs it: delivers interrupts, drops bytes objects that came back. Sleeps otherwise.
///
/// Threads: start() on its own; everything else any.
///
/// Edges:
///   K2  request() adds to requests_, release -> serve() loads it, acquire: what was asked for is
///   seen.
class RuntimeThread {
 public:
  explicit RuntimeThread(const RuntimeConfig& config) : config_(config) {}

  /// What failed, or "".
  [[nodiscard]] std::string start();
  [[nodiscard]] ModuleState& state() const noexcept { return *state_; }

  void add(Target& target);
  void remove(Target& target);
  /// Some target's interrupt is to be delivered, or ReturnedBytes to be collected. Never blocks.
  void request() noexcept;

 private:
  void run();
  [[noreturn]] void serve(PyThreadState* thread);
  void deliver(PyThreadState* thread);
  /// Drops what came back, if that is due at `due_ns`; returns when it will be.
  [[nodiscard]] std::int64_t collect(PyThreadState* thread, std::int64_t due_ns);

  /// Between the first object that comes back and the collection: while Python sends on, it drops
  /// them itself, and need not share the GIL with this thread more often than this.
  static constexpr std::int64_t kPatience_ns = 5'000'000;

  const RuntimeConfig config_;
  ModuleState* state_ = nullptr;
  Atomic<std::uint32_t> requests_{0};

  std::mutex mutex_;  // Guards what follows; never taken with the GIL.
  std::condition_variable changed_;
  bool is_started_ = false;
  std::string failure_;
  Target* targets_ = nullptr;
};

/// The process's one, once it has started, or nullptr.
[[nodiscard]] RuntimeThread* runtime_thread() noexcept;

}  // namespace penstock::python
