// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>

#include "penstock/io_uring/reactor.hpp"
#include "penstock/ref.hpp"

namespace penstock::python {

/// The reactor of one loop, which lives for as long as anybody may wake it: the loop itself, and
/// mailboxes that waiters of a channel still refer to when the loop is closed.
///
/// Threads: wake() any; everything else as Reactor says.
class LoopReactor final : public Object {
 public:
  /// Empty: errno tells why.
  [[nodiscard]] static Ref<LoopReactor> create() noexcept;

  [[nodiscard]] io_uring::Reactor* operator->() const noexcept { return reactor_.get(); }
  [[nodiscard]] io_uring::Reactor& get() const noexcept { return *reactor_; }

 private:
  explicit LoopReactor(std::unique_ptr<io_uring::Reactor> reactor) noexcept
      : reactor_(std::move(reactor)) {}
  ~LoopReactor() override = default;

  const std::unique_ptr<io_uring::Reactor> reactor_;
};

}  // namespace penstock::python
