// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <compare>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "atoms.hpp"
#include "counters.hpp"
#include "penstock/io_uring/reactor.hpp"
#include "penstock/ref.hpp"

namespace penstock::nif {

enum class EventKind : std::uint8_t { read, write, timer };

/// Something happened that somebody had asked for, under an id of his.
struct LoopEvent {
  std::uint64_t id;
  EventKind kind;
  auto operator<=>(const LoopEvent&) const = default;
};

/// read, write or timer.
[[nodiscard]] inline ERL_NIF_TERM atom_of(EventKind kind) noexcept {
  return kind == EventKind::read    ? atoms().read
         : kind == EventKind::write ? atoms().write
                                    : atoms().timer;
}

/// Readiness of descriptors, and timers, for Erlang processes: what is behind
/// py_nif:event_loop_new/0 and its like.
///
/// A thread of its own sleeps in a Reactor. What happens is kept, each event once, until
/// take_pending(), or goes to the worker, if there is one. A descriptor that has been reported is
/// not watched until it is wanted again: by start(), or, once its event has been taken, by the next
/// wait_for_events() or take_pending(), when who took it has had time to read.
///
/// Threads: any. The lock is held over no system call but the one that wakes the thread. Cost: a
/// thread, and two descriptors or three.
class EventLoop final : public Object {
 public:
  /// One direction of one descriptor; the loop and Erlang refer to it.
  struct Watch final : public Object {
    Watch(int descriptor, EventKind of, std::uint64_t name) noexcept
        : fd(descriptor), kind(of), id(name) {}
    const int fd;
    const EventKind kind;
    const std::uint64_t id;
    // Guarded by the loop's lock.
    bool is_wanted = true;     ///< Between start() and stop().
    bool is_reported = false;  ///< Not watched until it is wanted again.
    bool is_taken = false;     ///< By take_pending(), since it was reported.
    bool is_removed = false;

   private:
    ~Watch() override = default;
  };
  using Timer = std::pair<std::int64_t, std::uint64_t>;  ///< When, and a number of its own.

  /// Empty: errno tells why.
  [[nodiscard]] static Ref<EventLoop> start();

  /// Returns 0 or an errno: nothing that can be watched. One for each direction of a descriptor;
  /// another takes its place.
  [[nodiscard]] int add(int fd, EventKind kind, std::uint64_t id, Ref<Watch>* watch);
  void remove(Watch& watch);
  /// Removes it and its counterpart, and closes the descriptor. Idempotent.
  void close(Watch& watch);
  void start(Watch& watch) { want(watch, true); }
  void stop(Watch& watch) { want(watch, false); }

  [[nodiscard]] Timer call_later(std::int64_t delay_ns, std::uint64_t id);
  void cancel(const Timer& timer);

  /// How many events there are: waits for the first, until the deadline, wake() or destroy(). Not
  /// on a normal scheduler.
  [[nodiscard]] std::size_t wait_for_events(std::int64_t deadline_ns);
  [[nodiscard]] std::vector<LoopEvent> take_pending();
  /// As if it had happened.
  void add_pending(const LoopEvent& event);
  void wake();
  void set_worker(std::optional<ErlNifPid> worker);
  /// Ends the thread. Idempotent.
  void destroy();

 private:
  struct Slot {
    Ref<Watch> reader;
    Ref<Watch> writer;
    bool is_to_be_closed = false;
  };
  /// What the reactor is to be told.
  struct Change {
    int fd;
    io_uring::Interest interest;
    bool is_gone;
    bool is_to_be_closed;
  };

  explicit EventLoop(std::unique_ptr<io_uring::Reactor> reactor) : reactor_(std::move(reactor)) {}
  ~EventLoop() override = default;

  void run();
  [[nodiscard]] bool prepare(std::vector<Change>& changes);
  void apply(const std::vector<Change>& changes);
  [[nodiscard]] bool may_wait(std::int64_t* deadline_ns);
  void report(std::span<const io_uring::Event> events, std::vector<LoopEvent>& found);
  void report_to(std::vector<LoopEvent>& found, const Ref<Watch>& watch);
  void deliver(const std::vector<LoopEvent>& found);
  void want(Watch& watch, bool is_wanted);
  void changed(int fd);
  void forget_pending(const Watch& watch);
  void rearm_taken();

  const std::unique_ptr<io_uring::Reactor> reactor_;  // The thread's, but for wake().
  [[no_unique_address]] Counted<&Counters::event_loops> counted_;

  std::mutex mutex_;  // Guards what follows.
  std::condition_variable happened_;
  bool is_destroyed_ = false;
  std::uint64_t wakes_ = 0;
  std::optional<ErlNifPid> worker_;
  std::map<int, Slot> slots_;
  std::set<int> changed_;  // Descriptors.
  std::map<Timer, std::uint64_t> timers_;
  std::uint64_t last_timer_ = 0;
  std::vector<LoopEvent> pending_;
  std::set<LoopEvent> pending_set_;  // The same.
};

}  // namespace penstock::nif
