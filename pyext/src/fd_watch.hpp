// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"
#include "watcher.hpp"

namespace penstock::python {

class LoopCore;
struct SocketAwaitable;

/// What a loop has to do with one descriptor that is no transport's: the handles of add_reader and
/// add_writer, which are put among those that are ready each time that the descriptor is, and the
/// coroutines of sock_recv and the like, which go on once.
///
/// A descriptor that the last coroutine has left stays watched until the loop looks for events
/// again: who receives in a loop waits for the same socket soon.
///
/// Threads: the loop's, with the GIL.
class FdWatch final : public Watcher {
 public:
  FdWatch(LoopCore& loop, int fd) noexcept : loop_(loop), fd_(fd) {}
  ~FdWatch() { leave_all(); }
  FdWatch(const FdWatch&) = delete;
  FdWatch& operator=(const FdWatch&) = delete;

  [[nodiscard]] bool ready(io_uring::Interest what) override;

  /// Watches for what is wanted now, and nothing else. Returns 0 or an errno.
  int settle();
  /// For what was left watched.
  void settle_now() {
    is_listed_ = false;
    if (wanted() != watched_) (void)settle();
  }

  /// Of `io_uring::readable`, `writable`: what the handles are there for.
  [[nodiscard]] io_uring::Interest handled() const noexcept {
    return static_cast<io_uring::Interest>((reader ? io_uring::readable : 0) |
                                           (writer ? io_uring::writable : 0));
  }
  [[nodiscard]] PyRef& handle(io_uring::Interest which) noexcept {
    return which == io_uring::readable ? reader : writer;
  }

  /// The coroutine is resumed when the descriptor is ready for what it wants. Returns 0 or an
  /// errno.
  [[nodiscard]] int enter(SocketAwaitable& awaitable);
  /// One that does not want to be resumed any more.
  void leave(SocketAwaitable& awaitable);

  int traverse(visitproc visit, void* arg) const;

  PyRef reader;
  PyRef writer;
  PyRef file;  ///< What they were added by, if that was no number: it may have none any more.

 private:
  [[nodiscard]] io_uring::Interest wanted() const noexcept;
  /// The first in line that waits for any of `what`, or nullptr; and how many do.
  [[nodiscard]] SocketAwaitable* first_for(io_uring::Interest what) const noexcept;
  [[nodiscard]] std::size_t waiting_for(io_uring::Interest what) const noexcept;
  void unlink(SocketAwaitable& awaitable) noexcept;
  void leave_all() noexcept;

  LoopCore& loop_;
  const int fd_;
  io_uring::Interest watched_ = 0;
  bool is_listed_ = false;  // Among those that the loop settles.
  // In line, first come first; each keeps itself alive.
  SocketAwaitable* first_ = nullptr;
  SocketAwaitable* last_ = nullptr;
  PyRef socket_;  // The one that it is watched for, as long as nobody but coroutines wants it.
};

}  // namespace penstock::python
