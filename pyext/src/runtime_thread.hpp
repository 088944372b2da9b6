// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "home.hpp"
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

/// A thread of ours in an interpreter, which does for threads that must not take its GIL what needs
/// it: delivers interrupts, drops bytes objects that came back. Sleeps otherwise.
///
/// In the main interpreter it is the main thread, and starts it. In others it comes when they have
/// started, and leaves before they end.
///
/// Threads: start(), enter() and leave() one; everything else any.
class RuntimeThread final : public Object {
 public:
  RuntimeThread(const RuntimeConfig& config, Ref<Home> home)
      : config_(config), home_(std::move(home)) {}

  /// Starts the main interpreter. What failed, or "".
  [[nodiscard]] std::string start();
  /// Starts this thread in an interpreter that runs. What failed, or "".
  [[nodiscard]] std::string enter(PyInterpreterState* interpreter, ModuleState& state);
  /// Returns when this thread has nothing to do with its interpreter any more. Needs that it gets
  /// the GIL.
  void leave();

  [[nodiscard]] ModuleState& state() const noexcept { return *state_; }
  [[nodiscard]] Home& home() const noexcept { return *home_; }
  [[nodiscard]] const RuntimeConfig& config() const noexcept { return config_; }

  void add(Target& target);
  void remove(Target& target);
  /// Some target's interrupt is to be delivered. Never blocks.
  void request() noexcept { home_->request(); }

 private:
  ~RuntimeThread() override = default;
  void run();
  void run_inside();
  void serve(PyThreadState* thread);
  [[nodiscard]] bool is_leaving();
  /// Interrupts; those of contexts that stop once more if that is due at `due_ns`. Returns when it
  /// will be.
  [[nodiscard]] std::int64_t deliver(PyThreadState* thread, std::int64_t due_ns);
  /// Drops what came back, if that is due at `due_ns`; returns when it will be.
  [[nodiscard]] std::int64_t collect(PyThreadState* thread, std::int64_t due_ns);
  /// Once the interpreter is to end: the same for what its threads are told.
  [[nodiscard]] std::int64_t end_others(PyThreadState* thread, std::int64_t due_ns);
  [[nodiscard]] std::vector<Ref<Target>> targets();

  /// Between the first object that comes back and the collection: while Python sends on, it drops
  /// them itself, and need not share the GIL with this thread more often than this.
  static constexpr std::int64_t kPatience_ns = 5'000'000;
  /// Between the end of the waits inside Penstock and an exception in what still runs: most threads
  /// come to their end by themselves. Then twice as long, and so on.
  static constexpr std::int64_t kGrace_ns = 500'000'000;
  /// Between two exceptions in a call of a context that stops.
  static constexpr std::int64_t kAgain_ns = 500'000'000;

  const RuntimeConfig config_;
  const Ref<Home> home_;
  ModuleState* state_ = nullptr;
  PyInterpreterState* interpreter_ = nullptr;
  std::int64_t grace_ns_ = kGrace_ns;

  std::mutex mutex_;  // Guards what follows; never taken with the GIL.
  std::condition_variable changed_;
  bool is_started_ = false;
  bool is_leaving_ = false;
  bool has_left_ = false;
  std::string failure_;
  Target* targets_ = nullptr;
};

/// Starts one for an interpreter that was there first: this process is Python's. What failed, or
/// "". Once, with its GIL.
[[nodiscard]] std::string adopt_runtime(ModuleState& state);

/// The process's one for the main interpreter, once it has started, or nullptr.
[[nodiscard]] RuntimeThread* runtime_thread() noexcept;

}  // namespace penstock::python
