// SPDX-License-Identifier: Apache-2.0
#include "awaitable_line.hpp"

#include <new>

#include "blocking.hpp"

namespace penstock::python {

namespace {

/// Returns the endpoint's reference to the future.
PyRef leave_endpoint(AwaitableObject& self) noexcept {
  if (self.endpoint == nullptr) return {};
  if (self.next != nullptr) self.next->previous = self.previous;
  (self.previous != nullptr ? self.previous->next : self.endpoint->waiting) = self.next;
  self.endpoint = nullptr;
  return PyRef::steal(self.future);
}

void enter_endpoint(AwaitableObject& self, EndpointObject& endpoint) noexcept {
  self.endpoint = &endpoint;
  self.previous = nullptr;
  self.next = endpoint.waiting;
  if (self.next != nullptr) self.next->previous = &self;
  endpoint.waiting = &self;
  (void)PyRef::borrow(self.future).take();
}

bool ensure_waiter(AwaitableObject& self, EndpointObject& endpoint) {
  Mailbox* const mailbox = endpoint.mailbox;
  if (self.waiter != nullptr && &self.waiter->mailbox() == mailbox) return true;
  forget_waiter(self);
  self.waiter = new (std::nothrow) AsyncWaiter(Ref<Mailbox>::borrow(mailbox), &self);
  if (self.waiter == nullptr) PyErr_NoMemory();
  return self.waiter != nullptr;
}

/// A future of `loop`, marked as one that a coroutine waits for.
PyRef new_future(ModuleState& state, PyObject* loop) {
  PyRef future = PyRef::steal(PyObject_CallMethodNoArgs(loop, state.names.create_future));
  if (future && PyObject_SetAttr(future.get(), state.names.future_blocking, Py_True) != 0)
    return {};
  return future;
}

void pass_on(const AwaitableObject& self) {
  if (self.operation->pass_on != nullptr) self.operation->pass_on(self);
}

/// Out of line and of the endpoint; a wake-up that it had goes to the next.
void leave_unfinished(AwaitableObject& self) {
  // The loop may have seen the wake-up, and the coroutine has not run since.
  const bool was_woken = self.waiter != nullptr && !self.waiter->is_linked;
  if (leave_line(self) || was_woken) pass_on(self);
  forget_waiter(self);
}

/// Makes self.future, and adds the waiter to the line. False: an exception is set.
bool get_in_line(AwaitableObject& self) {
  const PyRef loop = running_loop(*self.state);
  if (!loop) return false;
  EndpointObject* const endpoint = endpoint_of(*self.state, loop.get());
  if (endpoint == nullptr || !ensure_waiter(self, *endpoint)) return false;
  self.future = new_future(*self.state, loop.get()).take();
  if (self.future == nullptr) return false;
  self.waiter->retain();  // The line's.
  self.waiter->is_linked = true;
  enter_endpoint(self, *endpoint);
  self.operation->line(self.source).add(*self.waiter);
  return true;
}

}  // namespace

bool leave_line(AwaitableObject& self) noexcept {
  const PyRef listed = leave_endpoint(self);
  drop(std::exchange(self.future, nullptr));
  AsyncWaiter* const waiter = self.waiter;
  if (waiter == nullptr || !waiter->is_linked) return false;
  if (self.operation->line(self.source).remove(*waiter)) {
    waiter->is_linked = false;
    waiter->release();  // The line's reference.
    return false;
  }
  // It is in the mailbox, or on its way there, and cannot come back into a line before the loop
  // has seen it; a later wait takes another one.
  waiter->awaitable = nullptr;
  self.waiter = nullptr;
  waiter->release();
  return true;
}

void forget_waiter(AwaitableObject& self) noexcept {
  if (AsyncWaiter* const waiter = std::exchange(self.waiter, nullptr)) {
    waiter->awaitable = nullptr;
    waiter->release();
  }
}

void cancel(AwaitableObject& self) {
  self.is_done = true;
  leave_unfinished(self);
  if (self.operation->abandon != nullptr) self.operation->abandon(self);
  drop(std::exchange(self.scratch, nullptr));
}

Outcome wait_or_finish(AwaitableObject& self, PyObject** result) {
  if (!get_in_line(self)) return Outcome::failed;
  if (parking().must_stop(owner_of_waits(*self.state))) {
    raise_ended(*self.state, nullptr, Reason::stopped);
    return Outcome::failed;
  }
  if (!self.operation->attempt(self, true, result)) return Outcome::waits;
  // A wake-up that we did not need may have been for something that is still there.
  if (leave_line(self)) pass_on(self);
  return Outcome::finished;
}

void finish_wait(const ModuleState& state, PyObject* awaited) {
  const PyRef future = PyRef::borrow(awaited);
  if (!future) return;
  const PyRef done = PyRef::steal(PyObject_CallMethodNoArgs(future.get(), state.names.done));
  if (done && done.get() == Py_False) {
    const PyRef set =
        PyRef::steal(PyObject_CallMethodOneArg(future.get(), state.names.set_result, Py_None));
  }
  if (PyErr_Occurred() != nullptr) PyErr_WriteUnraisable(future.get());
}

void resolve(AwaitableObject& awaitable) { finish_wait(*awaitable.state, awaitable.future); }

void resolve(AsyncWaiter& waiter) {
  waiter.is_linked = false;
  if (waiter.awaitable != nullptr) resolve(*waiter.awaitable);
}

void abandon(AwaitableObject& awaitable) {
  const PyRef alive = PyRef::borrow(reinterpret_cast<PyObject*>(&awaitable));
  leave_unfinished(awaitable);
}

}  // namespace penstock::python
