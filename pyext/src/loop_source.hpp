// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace penstock::python {

/// What a loop looks at in each iteration, beside callbacks, timers and descriptors: something that
/// other threads fill. It wakes the loop's reactor when the loop sleeps.
///
/// Threads: the loop's, with the GIL.
class LoopSource {
 public:
  /// Deals with what has come. False: an exception is set, and ends the run of the loop.
  [[nodiscard]] virtual bool serve() = 0;
  /// The loop has nothing to do. True: something has come. May wait for that a little while,
  /// without the GIL, but not beyond `deadline` (CLOCK_MONOTONIC, nanoseconds).
  [[nodiscard]] virtual bool comes_soon(std::int64_t deadline) = 0;
  /// The loop goes to sleep: from here on it is woken. True: not needed, something has come. All
  /// sources are asked.
  [[nodiscard]] virtual bool has_come() = 0;
  /// The loop's run has ended, and it may never run again: it is not to be woken for now.
  virtual void has_stopped() {}

 protected:
  ~LoopSource() = default;
};

}  // namespace penstock::python
