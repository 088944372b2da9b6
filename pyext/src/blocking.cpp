// SPDX-License-Identifier: Apache-2.0
#include "blocking.hpp"

#include <utility>

#include "set_aside.hpp"

namespace penstock::python {

namespace {

#if PY_VERSION_HEX < 0x030D0000
/// Code that does nothing; nullptr: no memory.
PyObject* nothing(ModuleState& state) {
  if (state.nothing == nullptr) {
    state.nothing = Py_CompileString("0", "<penstock>", Py_eval_input);
  }
  return state.nothing;
}

/// Has the interpreter find and raise what is set for this thread. Taken away by other means it
/// would go on to believe that something is set: each look at its flags would take longer, and
/// Python 3.11 turns round for ever at the entry of the next function that is traced.
void have_it_raised(ModuleState& state) {
  PyObject* const code = nothing(state);
  const PyRef names = PyRef::steal(code != nullptr ? PyDict_New() : nullptr);
  if (!names) return;
  PyThreadState* const thread = PyThreadState_Get();
  PyThreadState_EnterTracing(thread);  // Which the program's own trace function need not see.
  const PyRef value = PyRef::steal(PyEval_EvalCode(code, names.get(), names.get()));
  PyThreadState_LeaveTracing(thread);
}
#else
void have_it_raised(ModuleState& /*state*/) {}
#endif

}  // namespace

void set_async_exception(PyThreadState* thread, PyObject* exception) noexcept {
  constexpr unsigned long kNobody = ~0UL;
  const unsigned long id = std::exchange(thread->thread_id, kNobody);
  PyThreadState_SetAsyncExc(kNobody, exception);
  thread->thread_id = id;
}

PyRef take_async_exception(ModuleState& state) {
  PyThreadState* const thread = PyThreadState_Get();
  if (thread->async_exc == nullptr) return {};
  PyRef taken = PyRef::borrow(thread->async_exc);
  const SetAside other;
  have_it_raised(state);
  PyErr_Clear();
  if (thread->async_exc != nullptr) set_async_exception(thread, nullptr);
  return taken;
}

bool raise_async_exception(ModuleState& state) {
  const PyRef exception = take_async_exception(state);
  if (exception) PyErr_SetNone(exception.get());
  return static_cast<bool>(exception);
}

void raise_ended(ModuleState& state, Interruptible* owner, Reason reason) {
  // This is the delivery; the runtime's thread need not do it any more, or has just done it.
  if (owner != nullptr) (void)parking().take_request(*owner);
  if (raise_async_exception(state)) return;
  PyErr_SetNone(reason == Reason::stopped ? state.application_stopped : PyExc_KeyboardInterrupt);
}

}  // namespace penstock::python
