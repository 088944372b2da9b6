// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "caller.hpp"

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
  std::uint64_t handler = 0;  ///< The process that runs it, once known.
  Received answer;            ///< Operation::value, failure or down.
};

}  // namespace penstock::python
