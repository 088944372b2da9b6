// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/shim.hpp"

namespace penstock {

/// How often this process, or one that it descends from, was made by a fork. A child of a fork has
/// none of its parent's segments: who remembers the count from when he mapped one knows whether it
/// is still there.
///
/// Threads: any.
class Forks {
 public:
  [[nodiscard]] static std::uint32_t count() noexcept { return count_.load(order::relaxed); }
  /// From now on they are counted. False: no memory.
  [[nodiscard]] static bool watch() noexcept;

 private:
  inline static Atomic<std::uint32_t> count_{0};  // Written by a child's only thread.
};

}  // namespace penstock
