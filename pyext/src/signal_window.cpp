// SPDX-License-Identifier: Apache-2.0
#include "signal_window.hpp"

#include <Python.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "module_state.hpp"
#include "penstock/shim.hpp"
#include "set_aside.hpp"

namespace penstock::python {

namespace {

/// What the main thread sleeps on. The numbers stay the same for the life of the process, and of
/// its children: a notifier may be late.
struct Descriptors {
  int event = -1;
  int pipe[2] = {-1, -1};  ///< Numbers of signals.

  [[nodiscard]] bool is_there() const noexcept { return event >= 0; }
  [[nodiscard]] bool open() noexcept {
    if (pipe2(pipe, O_CLOEXEC | O_NONBLOCK) != 0) return false;
    event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event >= 0) return true;
    ::close(pipe[0]);
    ::close(pipe[1]);
    return false;
  }
};

// Of the main thread.
constinit Descriptors descriptors;
constinit int programs_own = -1;  // The wake-up descriptor that ours stands in for.
constinit Atomic<std::uint32_t> looks{0};

/// No descriptor.
constexpr int kRefused = -2;

enum class Place : std::uint8_t { unknown, main_thread, elsewhere };
constinit thread_local Place place = Place::unknown;

bool is_main_thread() noexcept {
  if (place == Place::unknown) {
    place = syscall(SYS_gettid) == getpid() ? Place::main_thread : Place::elsewhere;
  }
  return place == Place::main_thread;
}

/// Returns the one before. An exception that is set stays.
///
/// The function of C (PySignal_SetWakeupFd) is not exported. Nothing tells whether the program
/// wants to be warned when its descriptor is full, so that it is not.
int set_wakeup_fd(ModuleState& state, int fd) noexcept {
  const SetAside exception;
  if (state.set_wakeup_fd == nullptr) {
    const PyRef module = PyRef::steal(PyImport_ImportModule("signal"));
    if (module) state.set_wakeup_fd = PyObject_GetAttrString(module.get(), "set_wakeup_fd");
  }
  if (state.warn_keyword == nullptr) {
    state.warn_keyword = Py_BuildValue("(s)", "warn_on_full_buffer");
  }
  int before = kRefused;
  const PyRef number = PyRef::steal(PyLong_FromLong(fd));
  if (number && state.set_wakeup_fd != nullptr && state.warn_keyword != nullptr) {
    PyObject* const args[] = {number.get(), Py_False};
    const PyRef answer =
        PyRef::steal(PyObject_Vectorcall(state.set_wakeup_fd, args, 1, state.warn_keyword));
    if (answer) before = static_cast<int>(PyLong_AsLong(answer.get()));
  }
  PyErr_Clear();
  return before;
}

/// False: this is not the thread where Python runs handlers, or there is no memory.
bool put_ours_in(ModuleState& state) noexcept {
  const int before = set_wakeup_fd(state, descriptors.pipe[1]);
  full_fence(looks, "K6");
  if (before == kRefused) return false;
  if (before != descriptors.pipe[1]) programs_own = before;
  return true;
}

/// Unless a handler has put in another. One that the program has closed meanwhile is refused.
void take_ours_out(ModuleState& state) noexcept {
  int current = set_wakeup_fd(state, programs_own);
  if (current == kRefused) current = set_wakeup_fd(state, -1);
  if (current != descriptors.pipe[1]) (void)set_wakeup_fd(state, current);
}

void pass_on_arrivals() noexcept {
  char numbers[64];
  for (;;) {
    const ssize_t count = read(descriptors.pipe[0], numbers, sizeof numbers);
    if (count <= 0) return;
    // What the program has no room for is lost, as it would be without us.
    if (programs_own >= 0 && write(programs_own, numbers, static_cast<std::size_t>(count)) < 0) {
      continue;
    }
  }
}

/// The thread that forked is the child's main thread.
void part_from_parent() noexcept {
  place = Place::main_thread;
  if (!descriptors.is_there()) return;
  Descriptors own;
  if (!own.open()) return;  // Each wakes the other for nothing.
  dup3(own.event, descriptors.event, O_CLOEXEC);
  dup3(own.pipe[0], descriptors.pipe[0], O_CLOEXEC);
  dup3(own.pipe[1], descriptors.pipe[1], O_CLOEXEC);
  ::close(own.event);
  ::close(own.pipe[0]);
  ::close(own.pipe[1]);
}

}  // namespace

SignalWindow::SignalWindow(ModuleState& state) noexcept
    : state_(state),
      is_there_(is_main_thread() && (descriptors.is_there() || descriptors.open())) {}

SignalWindow::~SignalWindow() { close(); }

void SignalWindow::close() noexcept {
  if (!is_in_) return;
  is_in_ = false;
  const int saved_errno = errno;
  take_ours_out(state_);
  if (programs_own >= 0) pass_on_arrivals();  // Others can wait for who finds arrivals() readable.
  errno = saved_errno;
}

bool SignalWindow::look() noexcept {
  // Handlers find the program's own descriptor, and may put in another: but for one that comes
  // between these looks.
  close();
  if (PyErr_CheckSignals() != 0) return false;
  if (!is_there_) return true;
  is_in_ = put_ours_in(state_);
  return PyErr_CheckSignals() == 0;
}

int SignalWindow::event() const noexcept { return is_there_ ? descriptors.event : -1; }
int SignalWindow::arrivals() const noexcept { return is_there_ ? descriptors.pipe[0] : -1; }

void SignalWindow::take_arrivals() noexcept {
  if (is_main_thread() && descriptors.is_there()) pass_on_arrivals();
}

void part_signals_in_children() noexcept {
  [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, part_from_parent);
}

}  // namespace penstock::python
