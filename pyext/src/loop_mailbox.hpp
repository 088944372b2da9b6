// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "loop_reactor.hpp"
#include "penstock/waiter.hpp"

namespace penstock::python {

struct Interruptible;

/// The fired waiters of one asyncio loop, which learns of them through an eventfd that it watches.
///
/// Threads: wake() any; clear() the loop's. The eventfd is open for as long as anybody can wake().
class LoopMailbox final : public Mailbox {
 public:
  /// nullptr: no descriptor or memory left, errno tells.
  [[nodiscard]] static Ref<LoopMailbox> create(Interruptible* owner) noexcept;
  /// For a loop of ours, which needs no eventfd: it is to look by itself. nullptr: no memory.
  [[nodiscard]] static Ref<LoopMailbox> create(Interruptible* owner,
                                               Ref<LoopReactor> reactor) noexcept;

  [[nodiscard]] int fd() const noexcept { return fd_; }
  void wake() noexcept override;
  /// Takes the wake-up back, before take().
  void clear() noexcept;

 private:
  friend class Parking;
  LoopMailbox(int fd, Ref<LoopReactor> reactor, Interruptible* owner) noexcept
      : fd_(fd), reactor_(std::move(reactor)), owner_(owner) {}
  ~LoopMailbox() override;

  const int fd_;  // -1: the reactor is woken.
  const Ref<LoopReactor> reactor_;
  // Parking's.
  Interruptible* owner_;  // What may stop the loop's thread, or nullptr.
  LoopMailbox* next_ = nullptr;
  LoopMailbox* previous_ = nullptr;
};

}  // namespace penstock::python
