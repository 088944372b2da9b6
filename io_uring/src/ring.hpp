// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <liburing.h>

#include <cstdint>
#include <memory>

namespace penstock::io_uring {

/// Owns an io_uring: requests go in, completions come out.
///
/// Threads: the one that claimed it. Cost: system calls in enter() only, and in submission() when
/// there is no room left. Errors: those that will not pass are kept, see error().
class Ring {
 public:
  /// By what the kernel has: when it works on requests whose descriptor became ready.
  enum class Mode : std::uint8_t {
    deferred,     ///< In enter() only; the fastest. Linux 6.1.
    cooperative,  ///< When the thread makes a system call. Linux 5.19.
    plain,        ///< At once; the thread is interrupted. Linux 5.17.
  };
  struct Options {
    unsigned submissions = 64;
    unsigned completions = 256;
    Mode best = Mode::deferred;
    bool operator==(const Options&) const = default;
  };
  static constexpr std::int64_t no_timeout = INT64_MAX;
  /// The tag of requests whose completion tells nothing.
  static constexpr std::uint64_t kIgnoredTag = ~std::uint64_t{1};

  /// Whether io_uring works here: 0 or an errno. Looked at once, and once more after a fork.
  [[nodiscard]] static int probe() noexcept;
  /// This thread's spare ring, or a new one, which no thread has claimed. nullptr, with errno:
  /// ENOSYS, EPERM, ENOMEM (RLIMIT_MEMLOCK too), EMFILE, ENFILE.
  [[nodiscard]] static std::unique_ptr<Ring> take(const Options& options) noexcept;
  /// Keeps a ring of this thread without requests for its next take(), or closes it: to make one
  /// takes 100 us.
  static void give_back(std::unique_ptr<Ring> ring) noexcept;

  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  /// Makes it this thread's for life. False, with errno.
  [[nodiscard]] bool claim() noexcept;
  [[nodiscard]] bool is_claimed() const noexcept { return owner_ != 0; }
  [[nodiscard]] bool is_mine() const noexcept;
  [[nodiscard]] Mode mode() const noexcept { return mode_; }
  /// Whether what failed so may succeed the next time.
  [[nodiscard]] static bool passes(int error) noexcept;
  void fail(int error) noexcept { error_ = error; }
  /// The errno of a failure that will not pass; 0: none.
  [[nodiscard]] int error() const noexcept { return error_; }

  /// The next request to be filled in; nullptr: no room, because the kernel takes none now.
  [[nodiscard]] io_uring_sqe* submission() noexcept;
  /// Requests that the kernel has not taken yet.
  [[nodiscard]] unsigned pending() const noexcept { return io_uring_sq_ready(&ring_); }
  /// Makes nothing of a pending request with this tag. False: there is none.
  [[nodiscard]] bool retract(std::uint64_t tag) noexcept;

  /// Whether enter() has something to do that does not wait.
  [[nodiscard]] bool wants_entry() const noexcept {
    return pending() != 0 || (flags() & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  }
  [[nodiscard]] bool overflowed() const noexcept { return (flags() & IORING_SQ_CQ_OVERFLOW) != 0; }
  [[nodiscard]] bool has_completions() const noexcept { return io_uring_cq_ready(&ring_) != 0; }

  /// Submits what is pending, lets the kernel work, and waits for `completions` of them, not longer
  /// than the timeout, and not beyond a signal.
  void enter(unsigned completions, std::int64_t timeout_ns = no_timeout) noexcept;

  /// Calls each(completion) for what has come, while it returns true.
  template <class Each>
  void reap(Each each) noexcept {
    unsigned head = *ring_.cq.khead;  // Only we write it.
    const unsigned tail = io_uring_smp_load_acquire(ring_.cq.ktail);
    for (bool more = true; more && head != tail; ++head) {
      more = each(ring_.cq.cqes[head & ring_.cq.ring_mask]);
    }
    io_uring_smp_store_release(ring_.cq.khead, head);
  }

 private:
  explicit Ring(const Options& options) noexcept : options_(options) {}
  [[nodiscard]] static std::unique_ptr<Ring> open(const Options& options) noexcept;
  [[nodiscard]] int set_up() noexcept;
  [[nodiscard]] int answer_to_nop() noexcept;
  [[nodiscard]] unsigned flags() const noexcept { return IO_URING_READ_ONCE(*ring_.sq.kflags); }
  [[nodiscard]] unsigned publish() noexcept;

  struct ::io_uring ring_ {};
  std::uint64_t owner_ = 0;  ///< The thread that claimed it.
  std::uint32_t forks_ = 0;  ///< The process it belongs to.
  unsigned enter_flags_ = 0;
  int error_ = 0;
  Mode mode_ = Mode::plain;
  bool is_set_up_ = false;
  Options options_;
};

}  // namespace penstock::io_uring
