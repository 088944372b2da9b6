// SPDX-License-Identifier: Apache-2.0
#include "blocking.hpp"

#include <utility>

namespace penstock::python {

void set_async_exception(PyThreadState* thread, PyObject* exception) noexcept {
  constexpr unsigned long kNobody = ~0UL;
  const unsigned long id = std::exchange(thread->thread_id, kNobody);
  PyThreadState_SetAsyncExc(kNobody, exception);
  thread->thread_id = id;
}

bool raise_async_exception() {
  PyThreadState* const thread = PyThreadState_Get();
  if (thread->async_exc == nullptr) return false;
  const PyRef exception = PyRef::borrow(thread->async_exc);
  set_async_exception(thread, nullptr);
  PyErr_SetNone(exception.get());
  return true;
}

void raise_ended(ModuleState& state, Interruptible* owner, Reason reason) {
  // This is the delivery; the runtime's thread need not do it any more, or has just done it.
  if (owner != nullptr) (void)parking().take_request(*owner);
  if (raise_async_exception()) return;
  PyErr_SetNone(reason == Reason::stopped ? state.application_stopped : PyExc_KeyboardInterrupt);
}

}  // namespace penstock::python
