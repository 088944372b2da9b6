// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "fd_watch.hpp"
#include "handle.hpp"
#include "loop_library.hpp"
#include "loop_reactor.hpp"
#include "loop_source.hpp"
#include "module_state.hpp"
#include "ready_queue.hpp"
#include "shared_context.hpp"
#include "signal_window.hpp"
#include "timer_heap.hpp"
#include "watcher.hpp"

namespace penstock::python {

/// The heart of an event loop: what is ready, what is due when, who watches which descriptor, and
/// one iteration over all that. It is the C++ half of an instance of `erlang._native.LoopCore`, of
/// which `erlang.ErlangEventLoop` is a subclass.
///
/// An iteration is asyncio's: events, then timers that are due, then what was ready when it began
/// to run callbacks; what they add runs in the next.
///
/// Threads: with the GIL, which is given away only to wait. One iteration at a time. Cost: an
/// iteration in which something is ready makes no system call, unless descriptors are watched.
class LoopCore {
 public:
  LoopCore(ModuleState& state, PyObject* object) noexcept : state_(state), object_(object) {}
  LoopCore(const LoopCore&) = delete;
  LoopCore& operator=(const LoopCore&) = delete;

  /// Of an object that is one.
  [[nodiscard]] static LoopCore& of(PyObject* loop) noexcept;
  /// nullptr: `loop` is some other loop.
  [[nodiscard]] static LoopCore* find(const ModuleState& state, PyObject* loop) noexcept;

  // For transports, and whatever else watches descriptors.

  /// As Reactor::watch(). The watcher must live until it is forgotten: its object() does, and may
  /// be gone once somebody else watches the descriptor instead. After an error the descriptor is
  /// not watched.
  [[nodiscard]] int watch(int fd, io_uring::Interest interest, io_uring::Trigger trigger,
                          Watcher& watcher);
  /// Also what has been reported of the descriptor, and was not yet passed on, is forgotten. The
  /// last reference to the watcher's object() may go.
  void forget(int fd) noexcept;
  /// Reports `what` to one who watches a descriptor in the next iteration, whether or not anything
  /// happens: for who has left a part of it undone. False: MemoryError is set.
  [[nodiscard]] bool report_again(Watcher& watcher, io_uring::Interest what);
  /// Asks one who watches `fd` some milliseconds from now whether it has_more(), and if so reports
  /// it readable: for what is rare, and would cost something each time.
  void doubt(int fd, Watcher& watcher);
  /// Who watches the descriptor, or nullptr.
  [[nodiscard]] Watcher* watcher_of(int fd) const noexcept;
  /// False: an exception is set.
  [[nodiscard]] bool call_soon(PyObject* function, std::initializer_list<PyObject*> args,
                               PyObject* context = nullptr);
  /// Calls the method call_exception_handler with a dict. False: an exception is set.
  [[nodiscard]] bool call_exception_handler(PyObject* context);

  /// What it looks at in each iteration from now on, and what keeps that alive until it is removed
  /// or the loop closed, if anything does. False: MemoryError is set.
  [[nodiscard]] bool add_source(LoopSource& source, PyRef owner = {});
  void remove_source(const LoopSource& source) noexcept;
  /// Whether there is a source for which `is_it` is true.
  template <class Predicate>
  [[nodiscard]] bool has_source(Predicate is_it) const {
    for (const Source& each : sources_) {
      if (is_it(*each.source)) return true;
    }
    return false;
  }
  /// After reactor().
  [[nodiscard]] const Ref<LoopReactor>& shared_reactor() const noexcept { return reactor_; }

  // For its methods and handles.

  [[nodiscard]] ModuleState& state() const noexcept { return state_; }
  [[nodiscard]] LoopLibrary& library() const noexcept { return state_.loops; }
  [[nodiscard]] PyObject* object() const noexcept { return object_; }  ///< Borrowed.
  [[nodiscard]] bool is_debug() const noexcept { return is_debug_; }
  [[nodiscard]] bool is_closed() const noexcept { return is_closed_; }
  [[nodiscard]] bool is_running() const noexcept { return thread_ != 0; }
  /// False: RuntimeError is set.
  [[nodiscard]] bool check_open() const {
    if (is_closed_) PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return !is_closed_;
  }
  /// In debug mode: that it is not running on another thread. False: RuntimeError is set.
  [[nodiscard]] bool check_thread() const;

  /// False: MemoryError is set.
  [[nodiscard]] bool push_ready(PyRef handle) { return ready_.push(std::move(handle)); }
  [[nodiscard]] bool push_timer(HandleObject& timer) { return timers_.push(timer); }
  void timer_cancelled(HandleObject& timer) { timers_.cancelled(timer); }
  /// Makes a wait of another thread return.
  void wake() noexcept {
    if (reactor_) (*reactor_)->wake();
  }
  /// nullptr: fd_watch() was never called for it.
  [[nodiscard]] FdWatch* known_fd_watch(int fd) const noexcept;
  /// nullptr: MemoryError is set.
  [[nodiscard]] FdWatch* fd_watch(int fd);
  [[nodiscard]] std::span<const std::unique_ptr<FdWatch>> fd_watches() const noexcept {
    return fd_watches_;
  }
  /// Has `watch` settled before the loop looks for events again. False: no memory, it is now.
  [[nodiscard]] bool settle_later(FdWatch& watch);
  /// The number of what stands for a descriptor, as selectors take it. -1: ValueError is set.
  [[nodiscard]] int descriptor_of(PyObject* file) const;
  /// False: RuntimeError is set, the descriptor is a transport's, or another exception.
  [[nodiscard]] bool check_no_transport(PyObject* file, int fd) const;
  /// Empty: an exception is set.
  [[nodiscard]] PyRef new_future();

  /// Memory to receive into, whatever is in it is nobody's. Empty: MemoryError is set.
  [[nodiscard]] std::span<char> scratch();
  static constexpr std::size_t kScratch = std::size_t{256} * 1024;
  /// How much a sock_recv of this loop got last: a guess at how much the next one gets.
  [[nodiscard]] std::size_t last_received() const noexcept { return last_received_; }
  void note_received(int fd, std::size_t size) noexcept {
    last_received_ = size;
    if (size >= kMuch) note_much(fd);
  }
  /// Of what comes at once: while several peers send so much the loop does not look out for more.
  static constexpr std::size_t kMuch = std::size_t{32} * 1024;
  void note_much(int fd) noexcept {
    if (reactor_) reactor_->get().note_much(fd);
  }

  /// The reactor, made when first needed. nullptr: OSError is set.
  [[nodiscard]] io_uring::Reactor* reactor();
  void close_reactor();

  /// False: an exception is set that ends the run.
  [[nodiscard]] bool run_once();
  /// Iterations until the loop is to stop.
  [[nodiscard]] bool run();

  int traverse(visitproc visit, void* arg) const;
  void clear();
  void clear_ready() { ready_.clear(); }
  void clear_timers() { timers_.clear(); }
  [[nodiscard]] const ReadyQueue& ready() const noexcept { return ready_; }
  [[nodiscard]] const TimerHeap& timers() const noexcept { return timers_; }

  // Attributes of the Python object.
  void set_debug(bool is_debug) noexcept { is_debug_ = is_debug; }
  void set_closed(bool is_closed) noexcept { is_closed_ = is_closed; }
  void set_stopping(bool is_stopping) noexcept { is_stopping_ = is_stopping; }
  [[nodiscard]] bool is_stopping() const noexcept { return is_stopping_; }
  /// Which runs it, or 0.
  void set_thread(unsigned long thread) noexcept { thread_ = thread; }
  [[nodiscard]] unsigned long thread() const noexcept { return thread_; }
  /// Its run has ended.
  void has_stopped();
  [[nodiscard]] PyRef& task_factory() noexcept { return task_factory_; }
  [[nodiscard]] SharedContext& shared_context() noexcept { return shared_context_; }
  /// {"loop": the loop}, to make futures and tasks with; nullptr: an exception is set.
  [[nodiscard]] PyObject* loop_keyword();

 private:
  class Iteration;
  /// Wakes it for signals. Who sleeps takes them.
  struct Arrivals final : Watcher {
    bool ready(io_uring::Interest /*what*/) override {
      SignalWindow::take_arrivals();
      return true;
    }
  };
  struct Source {
    LoopSource* source;
    PyRef owner;
  };

  [[nodiscard]] bool look();
  [[nodiscard]] bool sleep();
  void watch_arrivals(io_uring::Reactor& reactor, int fd) noexcept;
  [[nodiscard]] bool may_sleep();
  void settle_all();
  void drop_events(Watcher& watcher) noexcept;
  [[nodiscard]] bool settle_doubts();
  void take(std::span<const io_uring::Event> events);
  void unite_events() noexcept;
  [[nodiscard]] bool dispatch();
  [[nodiscard]] bool serve_sources();
  [[nodiscard]] bool add_due();
  [[nodiscard]] bool run_ready();
  [[nodiscard]] bool run_one(PyObject* handle);

  ModuleState& state_;
  PyObject* const object_;  // Borrowed: this is a part of it.
  bool is_debug_ = false;
  bool is_closed_ = false;
  bool is_stopping_ = false;
  bool is_iterating_ = false;
  unsigned long thread_ = 0;
  PyRef task_factory_;
  SharedContext shared_context_;
  PyRef loop_keyword_;
  ReadyQueue ready_;
  TimerHeap timers_;
  Ref<LoopReactor> reactor_;
  std::vector<Watcher*> watchers_;                    // By descriptor.
  std::vector<std::unique_ptr<FdWatch>> fd_watches_;  // By descriptor.
  std::vector<FdWatch*> unsettled_;
  std::vector<Source> sources_;
  std::unique_ptr<char[]> scratch_;
  std::size_t last_received_ = 0;
  std::size_t watched_ = 0;    // Descriptors.
  int watched_arrivals_ = -1;  // Not one of them.
  Arrivals arrivals_;
  std::vector<io_uring::Event> events_;  // Those from next_event_ on are to be passed
  std::size_t next_event_ = 0;           // on; owner nullptr: forgotten meanwhile.
  std::vector<io_uring::Event> again_;   // Of the next iteration, likewise.
  std::vector<Watcher*> doubts_;         // nullptr: forgotten meanwhile.
  std::int64_t doubts_due_ns_ = io_uring::Reactor::no_deadline;
};

/// An instance of `erlang._native.LoopCore`.
struct LoopObject {
  PyObject_HEAD LoopCore core;
};

inline LoopCore& LoopCore::of(PyObject* loop) noexcept {
  return reinterpret_cast<LoopObject*>(loop)->core;
}

[[nodiscard]] bool add_loop_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
