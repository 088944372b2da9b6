// SPDX-License-Identifier: Apache-2.0
#include "loop_core.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <new>
#include <utility>

#include "blocking.hpp"
#include "gil.hpp"
#include "loop_clock.hpp"
#include "signal_window.hpp"

namespace penstock::python {

using io_uring::Event;
using io_uring::Interest;
using io_uring::Reactor;

namespace {

/// What is kept for each descriptor is kept up to the greatest, which must be one.
bool is_open(int fd) noexcept { return ::fcntl(fd, F_GETFD) >= 0; }

}  // namespace

// Descriptors
// ---------------------------------------------------------------------------------------------

LoopCore* LoopCore::find(const ModuleState& state, PyObject* loop) noexcept {
  PyTypeObject* const type = state.loops.core_type;
  return type != nullptr && PyObject_TypeCheck(loop, type) != 0 ? &of(loop) : nullptr;
}

Reactor* LoopCore::reactor() {
  if (!reactor_) {
    if (!check_open()) return nullptr;
    reactor_ = LoopReactor::create();
    if (!reactor_) PyErr_SetFromErrno(PyExc_OSError);
  }
  return reactor_ ? &reactor_->get() : nullptr;
}

void LoopCore::close_reactor() {
  // What ends with its owner may look for itself here.
  const auto sources = std::exchange(sources_, {});
  events_.clear();
  again_.clear();
  doubts_.clear();
  doubts_due_ns_ = Reactor::no_deadline;
  next_event_ = 0;
  watched_ = 0;
  watched_arrivals_ = -1;
  const std::vector<Watcher*> watchers = std::exchange(watchers_, {});
  const auto fd_watches = std::exchange(fd_watches_, {});
  unsettled_.clear();
  reactor_ = {};
  for (const Watcher* const watcher : watchers) {
    if (watcher != nullptr) drop(watcher->object());
  }
}

int LoopCore::watch(int fd, io_uring::Interest interest, io_uring::Trigger trigger,
                    Watcher& watcher) {
  if (!reactor_) {
    if (is_closed_) return EBADF;
    reactor_ = LoopReactor::create();
    if (!reactor_) return errno;
  }
  const auto index = static_cast<std::size_t>(fd);
  if (index >= watchers_.size() && !is_open(fd)) return EBADF;
  try {
    if (index >= watchers_.size()) watchers_.resize(index + 1);
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
  const int error = (*reactor_)->watch(fd, interest, trigger, &watcher);
  Watcher* const old = watchers_[index];
  if (old != nullptr && (error != 0 || old != &watcher)) drop_events(*old);
  PyRef watched = PyRef::borrow(error == 0 ? watcher.object() : nullptr);
  (void)watched.take();  // The reference is dropped together with the watch.
  watchers_[index] = error == 0 ? &watcher : nullptr;
  if (old != nullptr) --watched_;
  if (error == 0) ++watched_;
  if (old != nullptr) drop(old->object());
  return error;
}

Watcher* LoopCore::watcher_of(int fd) const noexcept {
  const auto index = static_cast<std::size_t>(fd);
  return index < watchers_.size() ? watchers_[index] : nullptr;
}

void LoopCore::forget(int fd) noexcept {
  Watcher* const watcher = watcher_of(fd);
  if (watcher == nullptr) return;
  (*reactor_)->forget(fd);
  watchers_[static_cast<std::size_t>(fd)] = nullptr;
  --watched_;
  drop_events(*watcher);
  drop(watcher->object());
}

void LoopCore::drop_events(Watcher& watcher) noexcept {
  if (std::exchange(watcher.is_in_doubt_, false)) {
    std::replace(doubts_.begin(), doubts_.end(), &watcher, static_cast<Watcher*>(nullptr));
  }
  for (std::size_t i = next_event_; i < events_.size(); ++i) {
    if (events_[i].owner == &watcher) events_[i].owner = nullptr;
  }
  for (Event& event : again_) {
    if (event.owner == &watcher) event.owner = nullptr;
  }
}

bool LoopCore::report_again(Watcher& watcher, io_uring::Interest what) {
  try {
    again_.push_back({&watcher, what});
    return true;
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
}

/// The first of some sets the time, so that a busy loop asks each a hundred times a second.
void LoopCore::doubt(int fd, Watcher& watcher) {
  constexpr std::int64_t kSoon_ns = 10'000'000;
  if (watcher.is_in_doubt_ || watcher_of(fd) != &watcher) return;
  try {
    doubts_.push_back(&watcher);
  } catch (const std::bad_alloc&) {
    return;  // The next read asks again.
  }
  watcher.is_in_doubt_ = true;
  if (doubts_due_ns_ == Reactor::no_deadline) doubts_due_ns_ = now_ns() + kSoon_ns;
}

bool LoopCore::settle_doubts() {
  bool all_told = true;
  doubts_due_ns_ = Reactor::no_deadline;
  for (Watcher* const watcher : doubts_) {
    if (watcher == nullptr) continue;
    watcher->is_in_doubt_ = false;
    if (watcher->has_more()) all_told = report_again(*watcher, io_uring::readable) && all_told;
  }
  doubts_.clear();
  return all_told;
}

FdWatch* LoopCore::known_fd_watch(int fd) const noexcept {
  const auto index = static_cast<std::size_t>(fd);
  return index < fd_watches_.size() ? fd_watches_[index].get() : nullptr;
}

FdWatch* LoopCore::fd_watch(int fd) {
  const auto index = static_cast<std::size_t>(fd);
  if (index >= fd_watches_.size() && !is_open(fd)) {
    PyErr_SetFromErrno(PyExc_OSError);
    return nullptr;
  }
  try {
    if (index >= fd_watches_.size()) fd_watches_.resize(index + 1);
    if (fd_watches_[index] == nullptr) fd_watches_[index] = std::make_unique<FdWatch>(*this, fd);
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return nullptr;
  }
  return fd_watches_[index].get();
}

bool LoopCore::settle_later(FdWatch& watch) {
  try {
    unsettled_.push_back(&watch);
    return true;
  } catch (const std::bad_alloc&) {
    (void)watch.settle();
    return false;
  }
}

void LoopCore::settle_all() {
  // What a socket drops that is not referred to any more may add others.
  while (!unsettled_.empty()) {
    FdWatch* const watch = unsettled_.back();
    unsettled_.pop_back();
    watch->settle_now();
  }
}

// An iteration
// ---------------------------------------------------------------------------------------------

/// One at a time: neither inside a callback nor on a second thread while the first one waits.
class LoopCore::Iteration {
 public:
  explicit Iteration(LoopCore& loop) noexcept : loop_(loop), may_run_(!loop.is_iterating_) {
    loop_.is_iterating_ = true;
  }
  ~Iteration() {
    if (may_run_) loop_.is_iterating_ = false;
  }
  Iteration(const Iteration&) = delete;
  Iteration& operator=(const Iteration&) = delete;

  /// False: RuntimeError is set.
  [[nodiscard]] bool may_run() const {
    if (!may_run_) PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
    return may_run_ && loop_.check_open();
  }

 private:
  LoopCore& loop_;
  const bool may_run_;
};

bool LoopCore::run_once() {
  const Iteration iteration(*this);
  if (!iteration.may_run()) return false;
  timers_.drop_cancelled();
  const bool has_work =
      !ready_.empty() || is_stopping_ || next_event_ < events_.size() || !again_.empty();
  if (!(has_work ? look() : sleep())) return false;
  // What was ready before the events goes before them, as asyncio's queue has it: a protocol may be
  // waiting for a callback that tells it what to do with its data.
  if (next_event_ < events_.size() && !ready_.empty() && !run_ready()) return false;
  if (!dispatch() || !serve_sources() || !add_due()) return false;
  return run_ready();
}

bool LoopCore::run() {
  do {
    if (!run_once()) return false;
  } while (!is_stopping_);
  return true;
}

bool LoopCore::look() {
  settle_all();
  // What nobody watches cannot happen; wake-ups are for those who sleep.
  take(watched_ == 0 ? std::span<const Event>() : (*reactor_)->poll());
  return true;
}

bool LoopCore::sleep() {
  Reactor* const waited_for = reactor();
  if (waited_for == nullptr) return false;
  // Its owner may close the loop meanwhile, which is wrong, but no reason to crash.
  const Ref<LoopReactor> alive = reactor_;
  const auto next_deadline = [this] {
    return std::min(doubts_due_ns_, timers_.empty() ? Reactor::no_deadline
                                                    : deadline_of_seconds_exactly(timers_.first()));
  };
  // Others may have the GIL meanwhile, and add something.
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (sources_[i].source->comes_soon(next_deadline())) return look();
  }
  // Both may run code of the program's, which may add something.
  settle_all();
  SignalWindow signals(state_);
  if (!signals.look()) return false;
  const std::int64_t deadline = next_deadline();
  if (reactor_.get() != alive.get()) return true;
  if (!ready_.empty() || is_stopping_ || !again_.empty() || !unsettled_.empty() ||
      deadline <= now_ns()) {
    return look();
  }
  std::span<const Event> events;
  watch_arrivals(*waited_for, signals.arrivals());
  waited_for->prepare_to_wait();
  if (!may_sleep()) {
    waited_for->after_wait();
    return PyErr_Occurred() == nullptr && look();
  }
  {
    const GilRelease released;
    events = waited_for->wait(deadline);
    waited_for->after_wait();
  }
  signals.close();
  if (reactor_.get() == alive.get()) take(events);
  return PyErr_CheckSignals() == 0 && !raise_async_exception(state_);
}

/// Not one of those that somebody watches: nobody forgets it, and no look without a sleep is for
/// it.
void LoopCore::watch_arrivals(Reactor& reactor, int fd) noexcept {
  if (fd < 0 || fd == watched_arrivals_) return;
  const int error = reactor.watch(fd, io_uring::readable, io_uring::Trigger::edge, &arrivals_);
  watched_arrivals_ = error == 0 ? fd : -1;
}

void LoopCore::take(std::span<const Event> events) {
  if (next_event_ == events_.size()) {
    events_.clear();
  } else {
    // A callback that ended the run left some.
    events_.erase(events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(next_event_));
  }
  next_event_ = 0;
  const bool may_repeat = !events_.empty() || !again_.empty();
  events_.insert(events_.end(), events.begin(), events.end());
  events_.insert(events_.end(), again_.begin(), again_.end());
  again_.clear();
  if (may_repeat) unite_events();
}

/// One event for each watcher: its second one would be served in the same iteration, before those
/// whom the first one woke.
void LoopCore::unite_events() noexcept {
  for (const Event& event : events_) {
    if (event.owner != nullptr) static_cast<Watcher*>(event.owner)->reported_ |= event.what;
  }
  for (Event& event : events_) {
    if (event.owner == nullptr) continue;
    event.what = std::exchange(static_cast<Watcher*>(event.owner)->reported_, Interest{0});
    if (event.what == 0) event.owner = nullptr;
  }
}

bool LoopCore::dispatch() {
  while (next_event_ < events_.size()) {
    const Event event = events_[next_event_++];
    if (event.owner == nullptr) continue;
    auto* const watcher = static_cast<Watcher*>(event.owner);
    const PyRef alive = PyRef::borrow(watcher->object());
    if (!watcher->ready(event.what)) return false;
  }
  return true;
}

bool LoopCore::serve_sources() {
  // One may go, or come, while it is served.
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (!sources_[i].source->serve()) return false;
  }
  return true;
}

bool LoopCore::may_sleep() {
  bool has_come = false;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    has_come = sources_[i].source->has_come() || has_come;
  }
  // From here on an interrupt of this thread finds it asleep.
  return !raise_async_exception(state_) && !has_come && ready_.empty() && !is_stopping_;
}

void LoopCore::has_stopped() {
  for (std::size_t i = 0; i < sources_.size(); ++i) sources_[i].source->has_stopped();
}

bool LoopCore::add_source(LoopSource& source, PyRef owner) {
  try {
    sources_.push_back({&source, std::move(owner)});
    return true;
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
}

void LoopCore::remove_source(const LoopSource& source) noexcept {
  const auto found = std::find_if(sources_.begin(), sources_.end(),
                                  [&](const Source& each) { return each.source == &source; });
  if (found == sources_.end()) return;
  const PyRef owner = std::move(found->owner);
  sources_.erase(found);
}

bool LoopCore::add_due() {
  if (timers_.empty() && doubts_.empty()) return true;
  std::int64_t const now_here = now_ns();
  if (now_here >= doubts_due_ns_ && !settle_doubts()) return false;
  const double now = seconds_of(now_here);
  while (!timers_.empty() && timers_.first() <= now) {
    if (!ready_.push(timers_.pop())) return false;
  }
  return true;
}

/// Handles ahead of the one that runs. Those of timers lie anywhere in memory.
constexpr std::size_t kPrefetch = 3;

bool LoopCore::run_ready() {
  // close() in a callback empties the queue.
  for (std::size_t left = ready_.size(); left > 0 && !ready_.empty(); --left) {
    const PyRef handle = ready_.pop();
    ready_.prefetch(kPrefetch);
    if (!run_one(handle.get())) return false;
  }
  return true;
}

bool LoopCore::run_one(PyObject* handle) {
  const ModuleState::Names& names = state_.names;
  if (is_handle(state_, handle)) {
    if (as_handle(handle).is_cancelled) return true;
    if (!is_debug_) return python::run(as_handle(handle));
  } else {
    // One that was made in Python.
    const PyRef cancelled = PyRef::steal(PyObject_GetAttr(handle, names.cancelled));
    const int is_cancelled = cancelled ? PyObject_IsTrue(cancelled.get()) : -1;
    if (is_cancelled != 0) return is_cancelled > 0;
  }
  return static_cast<bool>(
      is_debug_ ? PyRef::steal(PyObject_CallMethodOneArg(object_, names.run_watched, handle))
                : PyRef::steal(PyObject_CallMethodNoArgs(handle, names.run)));
}

// What others ask of it
// ---------------------------------------------------------------------------------------------

bool LoopCore::check_thread() const {
  if (thread_ == 0 || thread_ == PyThread_get_thread_ident()) return true;
  PyErr_SetString(PyExc_RuntimeError,
                  "Non-thread-safe operation invoked on an event loop other than the current one");
  return false;
}

bool LoopCore::call_soon(PyObject* function, std::initializer_list<PyObject*> args,
                         PyObject* context) {
  PyRef handle =
      new_handle(*this, {function, args.begin(), static_cast<Py_ssize_t>(args.size()), context});
  return handle && ready_.push(std::move(handle));
}

bool LoopCore::call_exception_handler(PyObject* context) {
  return static_cast<bool>(PyRef::steal(
      PyObject_CallMethodOneArg(object_, state_.names.call_exception_handler, context)));
}

int LoopCore::descriptor_of(PyObject* file) const {
  PyRef number = PyRef::borrow(file);
  if (PyLong_Check(file) == 0) {
    number = PyRef::steal(PyObject_CallMethodNoArgs(file, state_.names.fileno));
    if (number) number = PyRef::steal(PyNumber_Long(number.get()));
    if (!number) {
      PyErr_Clear();
      PyErr_Format(PyExc_ValueError, "Invalid file object: %R", file);
      return -1;
    }
  }
  int overflow = 0;
  const long value = PyLong_AsLongAndOverflow(number.get(), &overflow);
  if (overflow != 0 || value < 0 || value > INT_MAX) {
    PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %S", number.get());
    return -1;
  }
  return static_cast<int>(value);
}

bool LoopCore::check_no_transport(PyObject* file, int fd) const {
  // asyncio's weak dictionary of transports, by descriptor; of what is not in it, there is none.
  const PyRef transports = PyRef::steal(PyObject_GetAttr(object_, state_.names.transports));
  const PyRef weak =
      transports ? PyRef::steal(PyObject_GetAttr(transports.get(), state_.names.data)) : PyRef();
  if (!weak) return false;
  if (PyDict_Check(weak.get()) != 0) {
    if (PyDict_GET_SIZE(weak.get()) == 0) return true;
    const PyRef key = PyRef::steal(PyLong_FromLong(fd));
    if (!key) return false;
    if (PyDict_GetItemWithError(weak.get(), key.get()) == nullptr) {
      return PyErr_Occurred() == nullptr;
    }
  }
  return static_cast<bool>(
      PyRef::steal(PyObject_CallMethodOneArg(object_, state_.names.ensure_fd_no_transport, file)));
}

PyRef LoopCore::new_future() {
  PyObject* const keyword = loop_keyword();
  if (keyword == nullptr) return {};
  return PyRef::steal(PyObject_Call(library().future_class, library().no_arguments, keyword));
}

namespace {

/// Where the GNU C library manages memory, each object of 128 KiB or more comes in fresh pages
/// until a program has freed one: it adjusts itself then. Programs with large messages lose a third
/// of their time to page faults before, and some for ever, because theirs are made smaller first.
void adjust_allocator() noexcept {
  [[maybe_unused]] static const bool is_adjusted = [] {
    void* volatile const first = std::malloc(std::size_t{4} * 1024 * 1024);
    std::free(first);  // Never touched: two system calls.
    return true;
  }();
}

}  // namespace

std::span<char> LoopCore::scratch() {
  if (scratch_ == nullptr) adjust_allocator();
  if (scratch_ == nullptr) scratch_.reset(new (std::nothrow) char[kScratch]);
  if (scratch_ == nullptr) {
    PyErr_NoMemory();
    return {};
  }
  return {scratch_.get(), kScratch};
}

PyObject* LoopCore::loop_keyword() {
  if (!loop_keyword_) {
    PyRef keyword = PyRef::steal(PyDict_New());
    if (!keyword || PyDict_SetItemString(keyword.get(), "loop", object_) != 0) return nullptr;
    loop_keyword_ = std::move(keyword);
  }
  return loop_keyword_.get();
}

// For the garbage collector
// ---------------------------------------------------------------------------------------------

int LoopCore::traverse(visitproc visit, void* arg) const {
  for (std::size_t i = 0; i < ready_.size(); ++i) Py_VISIT(ready_[i]);
  for (std::size_t i = 0; i < timers_.size(); ++i) {
    Py_VISIT(reinterpret_cast<PyObject*>(timers_[i]));
  }
  for (const auto& watch : fd_watches_) {
    const int result = watch == nullptr ? 0 : watch->traverse(visit, arg);
    if (result != 0) return result;
  }
  for (const Source& source : sources_) Py_VISIT(source.owner.get());
  for (const Watcher* const watcher : watchers_) {
    if (watcher != nullptr) Py_VISIT(watcher->object());
  }
  Py_VISIT(task_factory_.get());
  Py_VISIT(shared_context_.get());
  Py_VISIT(loop_keyword_.get());
  return 0;
}

void LoopCore::clear() {
  ready_.clear();
  timers_.clear();
  close_reactor();
  task_factory_ = {};
  shared_context_.clear();
  loop_keyword_ = {};
}

}  // namespace penstock::python
