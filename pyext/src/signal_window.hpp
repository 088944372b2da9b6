// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>

namespace penstock::python {

/// Holds back the signals of the process's main thread, where Python runs its handlers, while it
/// looks whether one has come and goes to sleep: the sleep (of a ThreadWaiter or a loop's reactor)
/// lets them in again, so that a Ctrl-C just before it is not lost. On every other thread it does
/// nothing.
class SignalWindow {
 public:
  SignalWindow() noexcept;
  ~SignalWindow();
  SignalWindow(const SignalWindow&) = delete;
  SignalWindow& operator=(const SignalWindow&) = delete;

  /// For ThreadWaiter; -1 on other threads.
  [[nodiscard]] int event() const noexcept { return event_; }
  [[nodiscard]] const sigset_t* mask() const noexcept { return &before_; }
  /// For a loop's sleep; nullptr on other threads.
  [[nodiscard]] const sigset_t* held() const noexcept { return event_ < 0 ? nullptr : &before_; }

 private:
  int event_ = -1;
  sigset_t before_{};
};

}  // namespace penstock::python
