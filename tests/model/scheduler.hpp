// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include "arena.hpp"
#include "decisions.hpp"
#include "fiber.hpp"
#include "shadow.hpp"
#include "weak_memory.hpp"

namespace penstock::model {

/// What a thread is about to do when it goes on.
enum class Step : std::uint8_t { none, load, store, fence, futex_wait, futex_wake, pause, timeout };

/// Model threads, one of which runs at a time, and the futexes on which they sleep.
///
/// A thread stops before each access to an atomic, fence and futex call; there the next thread is
/// chosen. Plain code between belongs to the step before it: races in it are found by
/// happens-before, whatever the order. A thread in spin_pause() can go on only after a store that
/// changed a value; a sleeper with a deadline can time out at any moment.
///
/// Sleep sets (Godefroid) leave out an order of two steps that differs from one already seen only
/// in the order of independent steps: other words, or two loads of one word. Beside a bound on
/// preemptions they may also leave out an order whose equivalent was cut by that bound.
///
/// A deadlock, that is a lost wake-up: threads are left, and none can go on.
class Scheduler {
 public:
  Scheduler(Arena& arena, WeakMemory& memory, Decisions& decisions);

  /// Runs `body` as thread 0, until everything ends or somebody calls stop().
  void run(void (*body)());
  /// Leaves the execution as it is. From a model thread; does not return.
  [[noreturn]] void stop();

  /// Starts a thread, which stops before its first step. Of thread 0 only.
  void spawn(void (*body)(void*), void* argument);
  /// Lets the spawned threads run until all have ended. Of thread 0 only.
  void join_all();

  /// See explorer.hpp.
  void may_die();
  [[nodiscard]] bool has_died() const { return has_died_; }
  void await_end(unsigned thread);

  /// Before a step of the running thread: others may go first.
  void before(Step step, const void* address);
  [[nodiscard]] unsigned me() const { return current_; }
  [[nodiscard]] std::int64_t clock_ns() const { return clock_ns_; }

  /// Sleeps until woken, or until chosen to time out.
  void sleep(const void* address, std::int64_t deadline_ns);
  /// First come, first served. Returns a bit set of the woken threads.
  unsigned wake(const void* address, int count);
  /// Remembers what the running thread looked at, for pause().
  void looked_at(WeakMemory::Look look);
  void pause();

  [[nodiscard]] bool pruned() const { return pruned_; }
  [[nodiscard]] std::uint64_t steps() const { return steps_; }

 private:
  enum class State : std::uint8_t { unused, ended, ready, sleeping, paused, joining };
  static constexpr unsigned kRemembered = 32;
  static constexpr unsigned kMostSteps = 20'000;

  struct Thread {
    Fiber fiber;
    State state = State::unused;
    Step step = Step::none;
    const void* address = nullptr;
    std::int64_t deadline_ns = 0;
    std::uint64_t since = 0;  ///< Sleeping: place in line. Paused: progress at that time.
    void (*body)(void*) = nullptr;
    void* argument = nullptr;
    WeakMemory::Look looked[kRemembered] = {};
    unsigned looks = 0;
  };

  static void enter_main();
  static void enter_thread();
  [[nodiscard]] bool can_go_on(unsigned thread) const;
  [[nodiscard]] bool times_out(unsigned thread) const;
  [[nodiscard]] static bool are_independent(const Thread& a, const Thread& b);
  void reschedule();
  unsigned candidates(unsigned (&list)[kMaxThreads]);
  void choose_from(const unsigned (&list)[kMaxThreads], unsigned count);
  void resume(unsigned thread);
  void end(unsigned thread);
  void die();

  Arena& arena_;
  WeakMemory& memory_;
  Decisions& decisions_;
  Fiber host_;
  Thread threads_[kMaxThreads];
  unsigned thread_count_ = 0;
  unsigned alive_ = 0;  // Without thread 0.
  unsigned current_ = 0;
  bool starting_ = false;
  bool pruned_ = false;
  unsigned mortal_ = kMaxThreads;  // None.
  bool has_died_ = false;
  unsigned asleep_ = 0;  // The sleep set; a bit set.
  unsigned preemptions_ = 0;
  std::uint64_t line_ = 0;
  std::uint64_t steps_ = 0;
  std::int64_t clock_ns_ = 0;
};

}  // namespace penstock::model
