// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/forks.hpp"
#include "penstock/shim.hpp"
#include "penstock/waiter.hpp"

namespace penstock {

/// Wakes the thread of a process that listens for calls of others, and then answers each FarLine.
class Bells {
 public:
  Bells(const Bells&) = delete;
  Bells& operator=(const Bells&) = delete;
  /// `process`: its number. What was done before is visible to that thread.
  virtual void ring(unsigned process) noexcept = 0;

 protected:
  Bells() = default;
  ~Bells() = default;
};

/// One line of waiters that crosses processes: a word in shared memory with the mark of each
/// process where somebody waits, bit by number.
///
/// A call may stand for several: whoever takes what it waited for and sees that there is more wakes
/// the next one.
///
/// Threads: any.
///
/// Edges:
///   D3  announce() stores is_marked_, release, behind the waiter's place in its list -> answer()
///       takes it back by an exchange, acquire, and finds the waiter there. One that comes later
///       looks for itself.
///   D6  a notifier makes true what is waited for, fence (W1), and takes a mark away -> answer(),
///       which may see that before the bell rings for it, loads the marks, acquire.
///   W1  (waiter.hpp) announce() sets the mark before the fence of add(), or of answer(), and what
///       is waited for is looked at behind it; a notifier looks at the marks behind its own fence.
///       Who takes a mark away rings.
class FarLine final : public FarWaiters {
 public:
  static constexpr unsigned kProcesses = 64;

  /// `self`: this process.
  FarLine(Bells& bells, unsigned self, Atomic<std::uint64_t>& marks) noexcept
      : bells_(bells), self_(std::uint64_t{1} << self), marks_(marks) {}

  /// False in a forked child, which has none of the memory: there nobody waits.
  [[nodiscard]] bool is_usable() const noexcept { return born_ == Forks::count(); }

  void announce() noexcept override;
  [[nodiscard]] bool is_anybody_waiting() const noexcept override;
  [[nodiscard]] std::uint32_t waiting() const noexcept override;
  void wake_one() noexcept override;
  void wake_all() noexcept override;

  [[nodiscard]] bool answer(WaitList& near) noexcept override;
  /// The process with that number waits no more.
  void forget(unsigned process) noexcept;

 private:
  const std::uint32_t born_ = Forks::count();
  Bells& bells_;
  const std::uint64_t self_;  // Our mark.
  Atomic<std::uint64_t>& marks_;
  Atomic<std::uint32_t> is_marked_{0};    // Our mark was set, and nobody has answered since.
  Atomic<std::uint32_t> last_called_{0};  // They take turns.
};

}  // namespace penstock
