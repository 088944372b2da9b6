// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "caller.hpp"
#include "parking.hpp"
#include "set_aside.hpp"

namespace penstock::python {

struct Caller::Wait {
  Wait(Caller& of, std::uint64_t number) noexcept
      : caller(of), id(number), outer(std::exchange(of.innermost_, this)) {
    ++caller.depth_;
  }
  ~Wait() {
    caller.innermost_ = outer;
    --caller.depth_;
    if (answer) caller.spare_ = std::move(answer);
  }
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;

  Caller& caller;
  const std::uint64_t id;
  Wait* const outer;
  bool is_sent = false;       ///< To a process, or to its handler, and has not come back.
  std::uint64_t sent_to = 0;  ///< That one.
  std::uint64_t handler = 0;  ///< The process that runs it, once known.
  bool is_adopted = false;    ///< That was started by a process that is gone.
  bool is_lost = false;       ///< No answer may come.
  /// Parking::stops() when it began.
  const std::uint32_t stops = parking().stops();
  Received answer;  ///< Operation::value, failure or down.
};

/// A thread that waited itself, or tried to, has taken its waiter out of the inbox's line; at the
/// end of this scope it is back there, if futures need it.
class Caller::BackInLine {
 public:
  explicit BackInLine(Caller& caller) noexcept : caller_(caller) {}
  ~BackInLine() noexcept(false) {
    if (caller_.futures_.empty()) return;
    const SetAside exception;
    caller_.get_in_line();
    PyErr_Clear();
  }
  BackInLine(const BackInLine&) = delete;
  BackInLine& operator=(const BackInLine&) = delete;

 private:
  Caller& caller_;
};

}  // namespace penstock::python
