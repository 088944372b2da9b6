// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fd.hpp"

namespace penstock::io_uring {

/// The eventfd that ends a wait. It is watched for edges and never read: each ring is an edge.
///
/// Threads: ring() any; the number stays the same for life, after a fork too.
class Alarm {
 public:
  /// Empty, with errno: no descriptor or memory left.
  [[nodiscard]] static Alarm create() noexcept;

  void ring() const noexcept;
  /// In a forked child: no longer its parent's. Without a descriptor left it stays so: each then
  /// wakes the other for nothing.
  void part_from_parent() noexcept;
  [[nodiscard]] int fd() const noexcept { return event_.get(); }
  explicit operator bool() const noexcept { return static_cast<bool>(event_); }

 private:
  Fd event_;
};

}  // namespace penstock::io_uring
