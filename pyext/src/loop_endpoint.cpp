// SPDX-License-Identifier: Apache-2.0
#include "loop_endpoint.hpp"

#include <vector>

#include "awaitable.hpp"
#include "parking.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

EndpointObject& as_endpoint(PyObject* object) noexcept {
  return *reinterpret_cast<EndpointObject*>(object);
}

AsyncWaiter* as_async(MailboxWaiter* waiter) noexcept { return static_cast<AsyncWaiter*>(waiter); }

/// The application stops: whoever waits is to find that out.
void resume_all(const EndpointObject& self) {
  std::vector<PyRef> waiting;
  for (AwaitableObject* each = self.waiting; each != nullptr; each = each->next) {
    waiting.push_back(PyRef::borrow(reinterpret_cast<PyObject*>(each)));
  }
  for (const PyRef& each : waiting) resolve(*reinterpret_cast<AwaitableObject*>(each.get()));
}

/// The loop found the eventfd readable.
PyObject* endpoint_call(PyObject* object, PyObject*, PyObject*) {
  EndpointObject& self = as_endpoint(object);
  self.mailbox->clear();
  for (MailboxWaiter* fired = self.mailbox->take(); fired != nullptr;) {
    // The reference that the line held.
    const auto waiter = Ref<AsyncWaiter>::steal(as_async(fired));
    fired = Mailbox::next(*fired);
    resolve(*waiter);
  }
  if (parking().must_stop(owner_of_waits(*self.state))) resume_all(self);
  if (!let_interrupt_in(*self.state)) return nullptr;
  Py_RETURN_NONE;
}

void endpoint_dealloc(PyObject* object) {
  EndpointObject& self = as_endpoint(object);
  if (self.mailbox != nullptr) {
    parking().remove(*self.mailbox);
    for (MailboxWaiter* fired = self.mailbox->close(); fired != nullptr;) {
      const auto waiter = Ref<AsyncWaiter>::steal(as_async(fired));
      fired = Mailbox::next(*fired);
    }
    while (self.waiting != nullptr) abandon(*self.waiting);
    self.mailbox->release();
  }
  if (self.inbox != nullptr) self.inbox->release();
  auto& endpoints = self.state->endpoints;
  const auto known = endpoints.find(self.loop_address);
  if (known != endpoints.end() && known->second == &self) endpoints.erase(known);
  drop(self.loop_reference);
  free_instance(object);
}

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(endpoint_dealloc)},
    {Py_tp_call, reinterpret_cast<void*>(endpoint_call)},
    {0, nullptr},
};

PyType_Spec spec = {
    "erlang._LoopEndpoint", sizeof(EndpointObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

PyRef new_endpoint(ModuleState& state, PyObject* loop) {
  PyRef reference = PyRef::steal(PyWeakref_NewRef(loop, nullptr));
  if (!reference) return {};
  Ref<LoopMailbox> mailbox = LoopMailbox::create(owner_of_waits(state));
  if (!mailbox) {
    PyErr_SetFromErrno(PyExc_OSError);
    return {};
  }
  EndpointObject* const self = PyObject_New(EndpointObject, state.endpoint_type);
  if (self == nullptr) return {};
  self->state = &state;
  self->mailbox = mailbox.take();
  self->loop_reference = reference.take();
  self->loop_address = loop;
  self->waiting = nullptr;
  self->inbox = nullptr;
  parking().add(*self->mailbox);
  return PyRef::steal(reinterpret_cast<PyObject*>(self));
}

bool is_loop_of(const EndpointObject& endpoint, PyObject* loop) {
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* alive = nullptr;
  (void)PyWeakref_GetRef(endpoint.loop_reference, &alive);
  return PyRef::steal(alive).get() == loop;
#else
  return PyWeakref_GetObject(endpoint.loop_reference) == loop;
#endif
}

}  // namespace

EndpointObject* endpoint_of(ModuleState& state, PyObject* loop) {
  const auto known = state.endpoints.find(loop);
  // Another loop may have lived at this address.
  if (known != state.endpoints.end() && is_loop_of(*known->second, loop)) return known->second;
  const PyRef endpoint = new_endpoint(state, loop);
  if (!endpoint) return nullptr;
  EndpointObject& self = as_endpoint(endpoint.get());
  const PyRef fd = PyRef::steal(PyLong_FromLong(self.mailbox->fd()));
  if (!fd) return nullptr;
  const PyRef added = PyRef::steal(
      PyObject_CallMethodObjArgs(loop, state.names.add_reader, fd.get(), endpoint.get(), nullptr));
  if (!added) return nullptr;
  state.endpoints[loop] = &self;
  return &self;
}

bool let_interrupt_in(ModuleState& state) {
  if (PyThreadState_Get()->async_exc == nullptr) return true;
  const PyRef loop = running_loop(state);
  const PyRef calls = loop ? PyRef::steal(PyImport_ImportModule("erlang.calls")) : PyRef();
  if (!calls) return false;
  const PyRef function = PyRef::steal(PyObject_GetAttrString(calls.get(), "take_interrupt"));
  if (!function) return false;
  return static_cast<bool>(
      PyRef::steal(PyObject_CallMethod(loop.get(), "call_soon", "O", function.get())));
}

PyRef running_loop(ModuleState& state) {
  if (state.get_running_loop == nullptr) {
    const PyRef asyncio = PyRef::steal(PyImport_ImportModule("asyncio"));
    if (!asyncio) return {};
    state.get_running_loop = PyObject_GetAttrString(asyncio.get(), "get_running_loop");
    if (state.get_running_loop == nullptr) return {};
  }
  return PyRef::steal(PyObject_CallNoArgs(state.get_running_loop));
}

bool add_endpoint_type(PyObject* module, ModuleState& state) {
  return make_type(module, spec, state.endpoint_type);
}

}  // namespace penstock::python
