// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "runtime_thread.hpp"

namespace penstock::python {

/// An interpreter with a GIL and a memory of its own (PEP 684), for one context. Python 3.12 or
/// newer; with an older one start() says so.
///
///   start() ─► this thread holds its GIL ─► end() ─► ended, or left behind with what still runs
///
/// Threads: one, the context's.
class OwnInterpreter {
 public:
  /// `runtime`: not started yet; it becomes the interpreter's.
  explicit OwnInterpreter(RuntimeThread& runtime) noexcept : runtime_(runtime) {}
  OwnInterpreter(const OwnInterpreter&) = delete;
  OwnInterpreter& operator=(const OwnInterpreter&) = delete;
  ~OwnInterpreter() = default;

  /// What failed, and there is none; or "".
  [[nodiscard]] std::string start();
  /// Call it after start(), with the GIL, which is then gone, as the last that this thread does
  /// with Python. Waits for the interpreter's other threads, for as long as it takes: their waits
  /// inside Penstock end, and what still runs after a while gets ApplicationStopped. Threads that
  /// the module threading does not know, and which do not end, keep the interpreter: Python cannot
  /// end one under its threads.
  void end();

  /// How many there are in this process, those left behind included.
  [[nodiscard]] static std::int64_t living() noexcept;

 private:
  [[nodiscard]] std::string make();
  [[nodiscard]] std::string import();
  [[nodiscard]] bool await_others() const;
  void finish();

  RuntimeThread& runtime_;
  PyThreadState* thread_ = nullptr;
  ModuleState* state_ = nullptr;
};

/// "" or why there can be none in this Python.
[[nodiscard]] const char* no_own_interpreters() noexcept;

}  // namespace penstock::python
