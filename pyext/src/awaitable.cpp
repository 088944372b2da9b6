// SPDX-License-Identifier: Apache-2.0
#include "awaitable.hpp"

#include <utility>

#include "awaitable_line.hpp"
#include "coroutine.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

AwaitableObject& as_awaitable(PyObject* object) noexcept {
  return *reinterpret_cast<AwaitableObject*>(object);
}

// Running
// ------------------------------------------------------------------------------------------

/// An unfinished one, which is_running.
PySendResult resume(AwaitableObject& self, PyObject** result) {
  (void)leave_line(self);  // We look at the condition now.
  if (!self.operation->attempt(self, false, result)) {
    const Outcome outcome = wait_or_finish(self, result);
    if (outcome == Outcome::waits) {
      *result = PyRef::borrow(self.future).take();
      return PYGEN_NEXT;
    }
    if (outcome == Outcome::failed) {
      cancel(self);
      return PYGEN_ERROR;
    }
  }
  self.is_done = true;
  forget_waiter(self);
  drop(std::exchange(self.scratch, nullptr));
  return *result == nullptr ? PYGEN_ERROR : PYGEN_RETURN;
}

const char* name_of(const AwaitableObject& self) { return self.operation->name; }

using Methods = Coroutine<AwaitableObject, resume, cancel, name_of>;

// Life
// ---------------------------------------------------------------------------------------------

int awaitable_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(as_awaitable(object).source);
  Py_VISIT(as_awaitable(object).scratch);
  Py_VISIT(as_awaitable(object).future);
  return 0;
}

int awaitable_clear(PyObject* object) {
  AwaitableObject& self = as_awaitable(object);
  if (self.source == nullptr) return 0;
  if (!self.is_done) cancel(self);
  drop(std::exchange(self.source, nullptr));
  return 0;
}

void awaitable_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  (void)awaitable_clear(object);
  AwaitableObject& self = as_awaitable(object);
  ModuleState& state = *self.state;
  if (state.spare_awaitable_count < state.max_spare_awaitables) {
    state.spare_awaitables[state.spare_awaitable_count++] = &self;  // With its type's reference.
    return;
  }
  free_instance(object);
}

/// One that was used before, or a new one; nullptr: MemoryError is set.
AwaitableObject* allocate(ModuleState& state) {
  if (state.spare_awaitable_count == 0) {
    return PyObject_GC_New(AwaitableObject, state.awaitable_type);
  }
  AwaitableObject* const spare = state.spare_awaitables[--state.spare_awaitable_count];
  _Py_NewReference(reinterpret_cast<PyObject*>(spare));
  return spare;
}

}  // namespace

PyObject* new_awaitable(ModuleState& state, const AwaitableOperation& operation, PyObject* source,
                        std::int64_t argument) {
  AwaitableObject* const self = allocate(state);
  if (self == nullptr) return nullptr;
  self->state = &state;
  self->operation = &operation;
  self->source = PyRef::borrow(source).take();
  self->scratch = nullptr;
  self->argument = argument;
  self->future = nullptr;
  self->waiter = nullptr;
  self->endpoint = nullptr;
  self->next = nullptr;
  self->previous = nullptr;
  self->is_done = false;
  self->is_running = false;
  auto* const object = reinterpret_cast<PyObject*>(self);
  PyObject_GC_Track(object);
  return object;
}

bool add_awaitable_type(PyObject* module, ModuleState& state) {
  state.awaitable_type = Methods::new_type(
      module, "erlang.ReceiveAwaitable", {awaitable_dealloc, awaitable_traverse, awaitable_clear});
  return state.awaitable_type != nullptr && PyModule_AddType(module, state.awaitable_type) == 0;
}

}  // namespace penstock::python
