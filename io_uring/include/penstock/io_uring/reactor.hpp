// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>

namespace penstock::io_uring {

/// How a reactor learns what happened.
enum class Backend : std::uint8_t { io_uring, epoll };

/// Which backend is wanted. `automatic` is io_uring where the kernel allows it, else epoll.
enum class Preference : std::uint8_t { automatic, io_uring, epoll };

/// What is wanted of a descriptor, and what is reported of one: bits.
using Interest = std::uint8_t;
inline constexpr Interest readable = 1;  ///< Also when the peer has shut down or an error is there.
inline constexpr Interest writable = 2;  ///< Also on error.
inline constexpr Interest hung_up = 4;   ///< Reported only: after what can be read comes the end.

/// When a descriptor that is still ready is reported again: `level` each time, `edge` when
/// something new has happened since (who uses it reads until there is nothing, or less than asked
/// for without `hung_up`).
enum class Trigger : std::uint8_t { level, edge };

/// What happened to one descriptor.
struct Event {
  void* owner;    ///< As given to watch().
  Interest what;  ///< Of what is wanted of it, and hung_up.
};

/// Readiness of descriptors, one deadline, and a wake-up from any thread: what an event loop sleeps
/// in.
///
/// Threads: everything but wake() belongs to the thread that runs the loop, which may change
/// between two calls (the loop's owner sees to it that calls do not overlap). After a fork the
/// child's first call starts anew with the same watches. Cost: watch() and forget() make no system
/// call of their own with io_uring, poll() none when nothing has to be submitted.
class Reactor {
 public:
  static constexpr std::int64_t no_deadline = std::numeric_limits<std::int64_t>::max();

  /// nullptr: no descriptor or memory left, or the backend that is insisted on does not work here;
  /// errno tells.
  [[nodiscard]] static std::unique_ptr<Reactor> create(Preference preference) noexcept;

  /// PENSTOCK_LOOP_BACKEND, looked up once: auto, io_uring or epoll; anything else is `automatic`.
  [[nodiscard]] static Preference preference_of_environment() noexcept;

  virtual ~Reactor() = default;
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  [[nodiscard]] virtual Backend backend() const noexcept = 0;

  /// Wants `interest` of `fd`, in place of what was wanted of it; 0 keeps the owner and asks for
  /// nothing. Returns 0 or an errno: EBADF, EPERM (a regular file), ENOSPC, ENOMEM.
  [[nodiscard]] virtual int watch(int fd, Interest interest, Trigger trigger,
                                  void* owner) noexcept = 0;

  /// Nothing more is reported of `fd`, and the kernel holds no reference to its file when this
  /// returns. To be called before the descriptor is closed; one that was closed without it does no
  /// harm.
  virtual void forget(int fd) noexcept = 0;

  /// What has happened, without waiting. Valid until the next call of poll(), wait() or forget().
  [[nodiscard]] virtual std::span<const Event> poll() noexcept = 0;

  /// Waits until something happens, until wake(), a signal, or `deadline` (CLOCK_MONOTONIC,
  /// nanoseconds), never less. To be called between prepare_to_wait() and after_wait().
  [[nodiscard]] virtual std::span<const Event> wait(std::int64_t deadline) noexcept = 0;

  /// From here on wake() makes wait() return. What others may have put down for the loop is to be
  /// looked at once more between this and wait().
  void prepare_to_wait() noexcept;
  void after_wait() noexcept;

  /// Makes wait() return, if the loop is about to be in it: one load and no system call when the
  /// loop is awake. What is to be seen by the loop must have been written before.
  void wake() noexcept;

 protected:
  Reactor() = default;
  /// Makes a wait() return; called by the one wake() that is the first since prepare_to_wait().
  virtual void interrupt_wait() noexcept = 0;

 private:
  enum class State : std::uint8_t { awake, waiting, woken };
  std::atomic<State> state_{State::awake};
};

}  // namespace penstock::io_uring
