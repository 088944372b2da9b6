// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "alarm.hpp"
#include "epoll_reactor.hpp"
#include "ring.hpp"
#include "watch_table.hpp"

namespace penstock::io_uring {

/// A reactor on io_uring. A level is a poll request for one event, made anew when the loop comes
/// back; an edge is a poll request for all events to come. Requests and their ends ride on the next
/// poll() or wait().
///
/// The ring belongs to the thread that waits. When another one comes, it is made anew, and so is
/// every request.
class UringReactor final : public Reactor {
 public:
  /// nullptr, with errno: io_uring does not work here, or no descriptor or memory is left.
  [[nodiscard]] static std::unique_ptr<UringReactor> create(const Ring::Options& options) noexcept;
  ~UringReactor() override;

  [[nodiscard]] Backend backend() const noexcept override {
    return fallback_ == nullptr ? Backend::io_uring : Backend::epoll;
  }
  [[nodiscard]] int watch(int fd, Interest interest, Trigger trigger,
                          void* owner) noexcept override;
  void forget(int fd) noexcept override;
  [[nodiscard]] std::span<const Event> poll() noexcept override;
  [[nodiscard]] std::span<const Event> wait(std::int64_t deadline) noexcept override;

 private:
  UringReactor(const Ring::Options& options, Alarm alarm, std::unique_ptr<Ring> ring)
      : options_(options), alarm_(std::move(alarm)), ring_(std::move(ring)) {}
  void interrupt_wait() noexcept override { alarm_.ring(); }
  void restart() noexcept override;

  /// False: `fallback_` has taken over.
  [[nodiscard]] bool has_ring() noexcept {
    return (ring_ != nullptr && ring_->is_mine()) || (fallback_ == nullptr && take_ring());
  }
  [[nodiscard]] bool take_ring() noexcept;
  [[nodiscard]] bool begin_sleep(std::int64_t* deadline) noexcept;
  void drop_ring() noexcept;
  void give_up_ring() noexcept;
  [[nodiscard]] bool reserve() noexcept;

  /// To be requested at the next poll() or wait().
  void list(int fd, Watch& watch) noexcept;
  /// The request that is armed for it is to end.
  void cancel(std::uint64_t tag) noexcept;
  /// Ends all that was told to cancel(), and keeps what is found meanwhile.
  void settle_cancelled() noexcept;
  void submit_changes() noexcept;
  [[nodiscard]] bool request_poll(int fd, std::uint32_t events, bool once,
                                  std::uint64_t tag) noexcept;
  /// Whose completion it is, and of what; nullptr: nobody's any more.
  [[nodiscard]] Watch* settle(const io_uring_cqe& cqe, Interest* what) noexcept;
  [[nodiscard]] std::span<const Event> harvest() noexcept;

  const Ring::Options options_;
  Alarm alarm_;
  std::unique_ptr<Ring> ring_;
  std::unique_ptr<WatchTable> watches_ = std::make_unique<WatchTable>();
  std::unique_ptr<EpollReactor> fallback_;  ///< Has taken over, and has `watches_`.
  std::vector<int> listed_;                 ///< To be armed.
  std::vector<int> late_;                   ///< With Watch::late.
  std::vector<std::uint64_t> cancels_;      ///< Requests that are to end.
  /// Requests that are to end, or were told to, and have not ended.
  unsigned cancelled_ = 0;
  bool is_asleep_ = false;    ///< A thread is in the kernel with the ring.
  bool alarm_wanted_ = true;  ///< Until the end.
  bool alarm_armed_ = false;
};

}  // namespace penstock::io_uring
