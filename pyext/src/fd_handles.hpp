// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"
#include "watcher.hpp"

namespace penstock::python {

class LoopCore;

/// What add_reader and add_writer of one descriptor have a loop call: handles that are put among
/// those that are ready each time that the descriptor is.
///
/// Threads: the loop's, with the GIL.
class FdHandles final : public Watcher {
 public:
  explicit FdHandles(LoopCore& loop) noexcept : loop_(loop) {}
  ~FdHandles() = default;

  [[nodiscard]] bool ready(io_uring::Interest what) override;

  [[nodiscard]] io_uring::Interest interest() const noexcept {
    return static_cast<io_uring::Interest>((reader ? io_uring::readable : 0) |
                                           (writer ? io_uring::writable : 0));
  }
  [[nodiscard]] PyRef& of(io_uring::Interest which) noexcept {
    return which == io_uring::readable ? reader : writer;
  }

  PyRef reader;
  PyRef writer;
  PyRef file;  ///< What it was added by, if that was no number: it may have none any more.

 private:
  LoopCore& loop_;
};

}  // namespace penstock::python
