// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/io_uring/reactor.hpp"
#include "ref.hpp"

namespace penstock::python {

class LoopCore;

/// Who is told of what happens to one descriptor of a loop: a transport, a sock_* operation, or the
/// handles of add_reader and add_writer.
///
/// Threads: the loop's, with the GIL.
class Watcher {
 public:
  /// `what` is a set of io_uring::readable, writable, hung_up. May forget the descriptor,
  /// watch others and run Python code. False: an exception (KeyboardInterrupt, SystemExit) is set,
  /// and ends the run of the loop.
  [[nodiscard]] virtual bool ready(io_uring::Interest what) = 0;

  /// Whether there is anything to be read that no event tells of: for who asked to be asked. Runs
  /// no Python code.
  [[nodiscard]] virtual bool has_more() { return false; }

  /// The Python object that it is a part of, which the loop keeps alive for as long as it watches
  /// the descriptor: borrowed. nullptr: none, somebody else sees to it.
  [[nodiscard]] virtual PyObject* object() const noexcept { return nullptr; }

 protected:
  ~Watcher() = default;

 private:
  friend class LoopCore;
  bool is_in_doubt_ = false;
  io_uring::Interest reported_ = 0;  ///< While the loop unites events of an iteration.
};

}  // namespace penstock::python
