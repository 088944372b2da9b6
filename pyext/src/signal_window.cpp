// SPDX-License-Identifier: Apache-2.0
#include "signal_window.hpp"

#include <Python.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "module_state.hpp"
#include "penstock/shim.hpp"
#include "set_aside.hpp"

namespace penstock::python {

namespace {

/// What the main thread sleeps on.
struct Descriptors {
  int event = -1;
  int pipe[2] = {-1, -1};  ///< Numbers of signals.
  dev_t device = 0;        ///< Of the pipe, and which one it is.
  ino_t inode = 0;

  [[nodiscard]] bool open() noexcept {
    if (open_pipe() && open_event()) return true;
    close();
    return false;
  }
  /// A program may have closed all that it does not know, and opened others; the lowest number of
  /// the three is the first to be given again.
  [[nodiscard]] bool are_ours() const noexcept {
    struct stat status {};
    return event >= 0 && fstat(pipe[0], &status) == 0 && status.st_dev == device &&
           status.st_ino == inode;
  }
  void close() noexcept {
    for (const int fd : {event, pipe[0], pipe[1]}) {
      if (fd >= 0) ::close(fd);
    }
    *this = {};
  }
  /// New ones with the same numbers, which some may know. They are closed first: there may be no
  /// others free. The new pipe gets lower numbers, or the same, in the same order; so neither of
  /// its ends is moved to where the other one is.
  void renew() noexcept {
    const Descriptors old = *this;
    close();
    if (open_pipe()) {
      move(pipe[1], old.pipe[1]);
      move(pipe[0], old.pipe[0]);
      if (open_event()) return move(event, old.event);
    }
    close();
  }

 private:
  [[nodiscard]] bool open_pipe() noexcept {
    struct stat status {};
    if (pipe2(pipe, O_CLOEXEC | O_NONBLOCK) != 0 || fstat(pipe[0], &status) != 0) return false;
    device = status.st_dev;
    inode = status.st_ino;
    return true;
  }
  [[nodiscard]] bool open_event() noexcept {
    event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return event >= 0;
  }
  static void move(int& from, int to) noexcept {
    if (from == to || dup3(from, to, O_CLOEXEC) < 0) return;
    ::close(std::exchange(from, to));
  }
};

// Of the main thread.
constinit Descriptors descriptors;
constinit int programs_own = -1;  // The wake-up descriptor that ours stands in for.
constinit Atomic<std::uint32_t> looks{0};
constinit bool is_ours_in = false;

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

bool have_descriptors() noexcept {
  if (descriptors.are_ours()) return true;
  descriptors = {};  // Not closed: they are the program's now.
  return descriptors.open();
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

/// Returns the one before; refused: this is not the thread where Python runs handlers, or there is
/// no memory.
int put_ours_in(ModuleState& state) noexcept {
  const int before = set_wakeup_fd(state, descriptors.pipe[1]);
  full_fence(looks, "K6");
  if (before == kRefused) return before;
  is_ours_in = true;
  if (before != descriptors.pipe[1]) programs_own = before;
  return before;
}

/// Unless a handler has put in another. One that the program has closed meanwhile is refused.
void take_ours_out(ModuleState& state) noexcept {
  is_ours_in = false;
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
  if (descriptors.are_ours()) {
    descriptors.renew();
  } else {
    descriptors = {};
  }
}

/// In a child that was forked while another thread, which is not there, was in a window.
PyObject* after_fork_in_child(PyObject* module, PyObject*) {
  if (is_ours_in) take_ours_out(state_of(module));
  Py_RETURN_NONE;
}

PyMethodDef after_fork = {"_after_fork_in_child", after_fork_in_child, METH_NOARGS, nullptr};

}  // namespace

SignalWindow::SignalWindow(ModuleState& state) noexcept
    : state_(state), is_there_(is_main_thread() && have_descriptors()) {}

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
  do {
    close();  // Handlers find the program's own descriptor, but for one that comes between.
    if (PyErr_CheckSignals() != 0) return false;
    if (!is_there_ || put_ours_in(state_) == kRefused) return true;
    is_in_ = true;
    if (PyErr_CheckSignals() != 0) return false;
    // A handler that ran there may have put in another, or waited itself, which takes ours out.
  } while (put_ours_in(state_) != descriptors.pipe[1]);
  return true;
}

int SignalWindow::event() const noexcept { return is_there_ ? descriptors.event : -1; }
int SignalWindow::arrivals() const noexcept { return is_there_ ? descriptors.pipe[0] : -1; }

void SignalWindow::take_arrivals() noexcept {
  if (is_main_thread() && descriptors.are_ours()) pass_on_arrivals();
}

bool part_signals_in_children(PyObject* module) {
  [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, part_from_parent);
  const PyRef os = PyRef::steal(PyImport_ImportModule("os"));
  const PyRef function = PyRef::steal(PyCFunction_New(&after_fork, module));
  const PyRef none = PyRef::steal(PyTuple_New(0));
  const PyRef keywords = PyRef::steal(PyDict_New());
  if (!os || !function || !none || !keywords ||
      PyDict_SetItemString(keywords.get(), "after_in_child", function.get()) != 0) {
    return false;
  }
  const PyRef add = PyRef::steal(PyObject_GetAttrString(os.get(), "register_at_fork"));
  return add && PyRef::steal(PyObject_Call(add.get(), none.get(), keywords.get()));
}

}  // namespace penstock::python
