// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>

#include "penstock/io_uring/lookout.hpp"
#include "penstock/io_uring/sleep_state.hpp"

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
/// for without `hung_up`). An edge may be reported twice, and a descriptor that
/// somebody else read from meanwhile too: reads and writes must not block.
enum class Trigger : std::uint8_t { level, edge };

/// What happened to one descriptor. At most one event for each descriptor in what poll() and wait()
/// return.
struct Event {
  void* owner;    ///< As given to watch(); nullptr: nothing any more, see poll().
  Interest what;  ///< Of what is wanted of it, and hung_up.
};

/// Readiness of descriptors, one deadline, and a wake-up from any thread: what an event loop sleeps
/// in.
///
/// Threads: everything but wake() belongs to the thread that runs the loop, which may change
/// between two calls. While it is in wait(), another one that stands in for it (one at a time) may
/// call watch() and forget(). After a fork the child's first call starts anew with the same
/// watches. Cost: with io_uring watch() makes one cheap system call, which finds out whether the
/// descriptor can be watched, forget() one if the kernel is waiting for the descriptor's events,
/// and poll() none when nothing has happened and nothing is new. Nothing allocates but the first
/// watch() of a higher descriptor. Errors: a ring that cannot be made anew after a change of the
/// thread or a fork is replaced by epoll, also for those who insisted on io_uring; backend() tells.
///
/// Edges:
///   L1  see SleepState.
///   L2  a Turn ends, release -> the next begins, acquire: what is watched.
class Reactor {
 public:
  static constexpr std::int64_t no_deadline = std::numeric_limits<std::int64_t>::max();
  static constexpr std::int64_t at_once = 0;  ///< A deadline that is over.

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
  /// nothing. What is ready already is reported, by `edge` too, also when the same was wanted
  /// before. Returns 0 or an errno: EBADF, EPERM (a regular file or a folder), ENOSPC, ENOMEM;
  /// nothing is wanted of `fd` then. `owner` is not nullptr.
  [[nodiscard]] virtual int watch(int fd, Interest interest, Trigger trigger,
                                  void* owner) noexcept = 0;

  /// Nothing more is reported of `fd`, and the kernel holds no reference to its file when this
  /// returns (soon after, if another thread calls than the one that waits, or waited last). To be
  /// called before the descriptor is closed. One that was closed without it does no harm, but with
  /// io_uring its peer may see the end only when the next event comes.
  virtual void forget(int fd) noexcept = 0;

  /// What has happened, without waiting. Valid until the next call of poll() or wait(). An event of
  /// a descriptor that is forgotten meanwhile, or whose next owner or interest it does not suit,
  /// loses its owner: skip it.
  [[nodiscard]] virtual std::span<const Event> poll() noexcept = 0;

  /// Waits until something happens, until wake(), a signal, or `deadline` (CLOCK_MONOTONIC,
  /// nanoseconds), never less; may return for no reason. To be called between prepare_to_wait() and
  /// after_wait().
  /// Where the last waits were short it looks out for events for some microseconds before it
  /// sleeps (PENSTOCK_LOOP_SPIN_US, 50 unless set; 0: never).
  [[nodiscard]] virtual std::span<const Event> wait(std::int64_t deadline) noexcept = 0;

  /// How long wait() looks out at most; 0: not at all. The loop's thread, and not in a wait.
  void look_out_for(std::int64_t limit_ns) noexcept { lookout_ = Lookout(limit_ns); }

  /// Much has come through a descriptor: from several in turn, and the next waits do not look out.
  /// The loop's thread.
  void note_much(int fd) noexcept { lookout_.note_much(fd); }

  /// From here on wake() makes wait() return. What others may have put down for the loop is to be
  /// looked at once more between this and wait().
  void prepare_to_wait() noexcept {
    if (forks_seen_ != forks()) start_anew();
    sleep_.prepare();
  }
  void after_wait() noexcept { sleep_.end(); }

  /// Makes wait() return, if the loop is about to be in it: a fence, one load and no system call
  /// when the loop is awake or looks out. What is to be seen by the loop must have been written
  /// before.
  void wake() noexcept {
    if (sleep_.rouse()) interrupt_wait();
  }

 protected:
  /// For wait(): whether it is to sleep. False: there is a wake-up.
  [[nodiscard]] bool may_sleep() noexcept { return sleep_.fall_asleep(); }
  /// After a look-out, if that is worth it. False: there is a wake-up, or `ready()`.
  template <class Ready>
  [[nodiscard]] bool may_sleep(std::int64_t deadline, Ready ready) noexcept {
    return !lookout_.look(deadline, [&] { return sleep_.is_roused() || ready(); }) &&
           sleep_.fall_asleep();
  }

  Reactor() noexcept : forks_seen_(forks()) {}

  /// What is watched may be looked at and changed for as long as this lives: not during a sleep.
  class Turn {
   public:
    explicit Turn(Reactor& reactor) noexcept : reactor_(reactor) {
      if (reactor.forks_seen_ != forks()) reactor.start_anew();
      for (unsigned turn = 0; reactor.taken_.exchange(1, order::acquire("L2")) != 0; ++turn) {
        spin_pause(turn);
      }
    }
    ~Turn() { reactor_.taken_.store(0, order::release("L2")); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Reactor& reactor_;
  };

  /// Makes a wait() return; called by the one wake() that is the first since prepare_to_wait().
  virtual void interrupt_wait() noexcept = 0;
  /// In a forked child: what is shared with the parent is left alone and made anew.
  virtual void restart() noexcept = 0;

 private:
  /// How many forks lie between the process that started and this one.
  [[nodiscard]] static std::uint32_t forks() noexcept;
  void start_anew() noexcept;

  SleepState sleep_;
  Lookout lookout_;
  Atomic<std::uint32_t> taken_{0};
  std::uint32_t forks_seen_;
};

}  // namespace penstock::io_uring
