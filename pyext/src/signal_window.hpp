// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

namespace penstock::python {

struct ModuleState;

/// While it lives, whatever Python has a handler for ends a sleep (of a ThreadWaiter or a loop's
/// reactor) of the process's main thread, where Python runs its handlers, however it came: before
/// the sleep or in it, to this thread or another one. Its handler in C writes the signal's number
/// into the process's wake-up descriptor (signal.set_wakeup_fd), which is ours meanwhile; numbers
/// are passed on to the program's, if it has one. On every other thread it does nothing.
///
/// Threads: lives on the stack of one; with the GIL but for the sleep. Cost: on the main thread
/// five cheap system calls, on others none.
///
/// Edges:
///   K6  (store-load) look() sets the wake-up descriptor and then reads whether a signal has come;
///       the handler writes that and then reads the descriptor.
class SignalWindow {
 public:
  explicit SignalWindow(ModuleState& state) noexcept;
  ~SignalWindow();
  SignalWindow(const SignalWindow&) = delete;
  SignalWindow& operator=(const SignalWindow&) = delete;

  /// Runs the handlers of the signals that have come. What comes from here on, until close(), ends
  /// the sleep. False: an exception is set.
  [[nodiscard]] bool look() noexcept;
  void close() noexcept;

  /// An eventfd to sleep on, and what is readable when a signal has come; -1 on other threads, or
  /// without descriptors: then a signal in the wrong moment waits for the next wake-up.
  [[nodiscard]] int event() const noexcept;
  [[nodiscard]] int arrivals() const noexcept;

  /// Takes the numbers of signals that have come, and passes them on: for who finds arrivals()
  /// readable. The main thread; on others nothing.
  static void take_arrivals() noexcept;

 private:
  ModuleState& state_;
  const bool is_there_;
  bool is_in_ = false;  ///< Our descriptor.
};

/// From now on children of a fork have descriptors of their own for this. Once for each
/// interpreter; false: an exception is set.
[[nodiscard]] bool part_signals_in_children(PyObject* module);

}  // namespace penstock::python
