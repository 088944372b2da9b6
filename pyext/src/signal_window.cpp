// SPDX-License-Identifier: Apache-2.0
#include "signal_window.hpp"

#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <initializer_list>

namespace penstock::python {

namespace {

/// Of the main thread, for the life of the process: a notifier may be late. -1 without descriptors;
/// then a signal in the wrong moment waits for the next wake-up.
int main_event() noexcept {
  static const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return event;
}

}  // namespace

SignalWindow::SignalWindow() noexcept {
  if (syscall(SYS_gettid) != getpid()) return;
  event_ = main_event();
  if (event_ < 0) return;
  sigset_t held;
  sigfillset(&held);
  // What this thread itself does wrong must not wait.
  for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&held, own);
  pthread_sigmask(SIG_BLOCK, &held, &before_);
}

SignalWindow::~SignalWindow() {
  if (event_ >= 0) pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace penstock::python
