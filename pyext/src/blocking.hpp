// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "gil.hpp"
#include "module_state.hpp"
#include "parking.hpp"
#include "penstock/status.hpp"

namespace penstock::python {

/// Has `exception` raised in that thread, and no other. With the GIL.
///
/// PyThreadState_SetAsyncExc finds a thread by its id. Up to Python 3.11 one that is being started
/// has the id of the thread that starts it until it runs, and is found first: an interrupt killed
/// it before it had said that it runs, and the thread that had started it waited for that for ever.
void set_async_exception(PyThreadState* thread, PyObject* exception) noexcept;

/// Takes back what somebody set for this thread (PyThreadState_SetAsyncExc) and the interpreter has
/// not raised yet. Empty: there was nothing. May give the GIL away for a while.
[[nodiscard]] PyRef take_async_exception(ModuleState& state);

/// Raises it: a thread that goes to sleep would not see it. False: there is nothing.
bool raise_async_exception(ModuleState& state);

/// Raises what ended a wait from outside.
void raise_ended(ModuleState& state, Interruptible* owner, Reason reason);

/// Runs `attempt(waiter, &woken)`, which may block, without the GIL, until its status is another
/// than `unfinished` or its deadline has passed. False: an exception is set: of a signal handler,
/// or KeyboardInterrupt (py:interrupt, a call's timeout), or ApplicationStopped.
template <class Attempt>
[[nodiscard]] bool block(ModuleState& state, Status unfinished, Status& status, Attempt attempt) {
  SignalWindow signals(state);
  ParkedThread thread(signals, owner_of_waits(state));
  for (;;) {
    if (!signals.look() || raise_async_exception(state)) return false;
    auto woken = ThreadWaiter::Wake::interrupted;
    status = unfinished;
    // Still with the GIL: between it and the list an interrupt could be raised that neither the
    // look above nor the wake-up of those on the list would bring here.
    if (parking().enter(thread)) {
      const GilRelease released;
      woken = ThreadWaiter::Wake::timeout;
      status = attempt(thread.waiter, &woken);
      parking().leave(thread);
    }
    if (status != unfinished || woken == ThreadWaiter::Wake::timeout) return true;
    if (woken == ThreadWaiter::Wake::signal) SignalWindow::take_arrivals();
    if (woken == ThreadWaiter::Wake::interrupted) {
      raise_ended(state, thread.owner, thread.reason);
      return false;
    }
  }
}

}  // namespace penstock::python
