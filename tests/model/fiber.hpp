// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace penstock::model {

/// A model thread's processor state. It may be abandoned in the middle: nothing is unwound.
class Fiber {
 public:
  using Entry = void (*)();

  /// Prepares to run `entry`, which never returns, on the given stack.
  void start(std::byte* stack, std::size_t bytes, Entry entry);
  /// Continues `next`; returns when somebody switches back to `self`.
  static void transfer(Fiber& self, Fiber& next);

 private:
#if defined(__x86_64__)
  void* stack_pointer_ = nullptr;
#else
  ucontext_t context_{};
#endif
};

}  // namespace penstock::model
