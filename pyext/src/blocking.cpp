// SPDX-License-Identifier: Apache-2.0
#include "blocking.hpp"

namespace penstock::python {

bool raise_async_exception() {
  PyThreadState* const thread = PyThreadState_Get();
  if (thread->async_exc == nullptr) return false;
  const PyRef exception = PyRef::borrow(thread->async_exc);
  PyThreadState_SetAsyncExc(thread->thread_id, nullptr);
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
