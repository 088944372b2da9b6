// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "alarm.hpp"
#include "watch_table.hpp"

namespace penstock::io_uring {

/// A reactor on epoll: each watch() is a registration that stays until the next one or forget().
class EpollReactor final : public Reactor {
 public:
  /// nullptr, with errno: no descriptor or memory left.
  [[nodiscard]] static std::unique_ptr<EpollReactor> create() noexcept;

  [[nodiscard]] Backend backend() const noexcept override { return Backend::epoll; }
  [[nodiscard]] int watch(int fd, Interest interest, Trigger trigger,
                          void* owner) noexcept override;
  void forget(int fd) noexcept override;
  [[nodiscard]] std::span<const Event> poll() noexcept override;
  [[nodiscard]] std::span<const Event> wait(std::int64_t deadline) noexcept override;

  /// Takes over from another backend: the same watches, reported anew, and an alarm that stays the
  /// other's.
  [[nodiscard]] static std::unique_ptr<EpollReactor> take_over(std::unique_ptr<WatchTable> watches,
                                                               int alarm);

 private:
  EpollReactor(std::unique_ptr<WatchTable> watches, int alarm, Alarm own_alarm) noexcept
      : own_alarm_(std::move(own_alarm)), alarm_(alarm), watches_(std::move(watches)) {}
  void interrupt_wait() noexcept override { own_alarm_.ring(); }
  void restart() noexcept override;
  /// Returns 0 or an errno.
  [[nodiscard]] int set(int operation, int fd, const Watch& watch) noexcept;
  /// False, with errno: there is no descriptor or memory left.
  bool renew() noexcept;
  Alarm own_alarm_;  ///< None: of the one that it took over from.
  int alarm_;
  Fd epoll_;  ///< None: there was no descriptor left to make it anew.
  /// Something is registered that we cannot name any more: closed by its owner without forget(),
  /// and kept open by a copy.
  bool haunted_ = false;
  std::unique_ptr<WatchTable> watches_;
};

}  // namespace penstock::io_uring
