// SPDX-License-Identifier: Apache-2.0
#include "loop_endpoint.hpp"

#include <new>
#include <vector>

#include "awaitable.hpp"
#include "loop_core.hpp"
#include "loop_source.hpp"
#include "parking.hpp"
#include "types.hpp"

namespace penstock::python {

/// Of a loop of ours, which looks by itself, and which a post wakes.
class EndpointSource final : public LoopSource {
 public:
  explicit EndpointSource(EndpointObject& endpoint) noexcept : endpoint_(endpoint) {}

  [[nodiscard]] bool serve() override;
  [[nodiscard]] bool comes_soon(std::int64_t) override;
  [[nodiscard]] bool has_come() override;

 private:
  EndpointObject& endpoint_;
};

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

/// False: nobody was there.
bool resume_fired(const EndpointObject& self) {
  MailboxWaiter* fired = self.mailbox->take();
  const bool is_any = fired != nullptr;
  while (fired != nullptr) {
    // The reference that the line held.
    const auto waiter = Ref<AsyncWaiter>::steal(as_async(fired));
    fired = Mailbox::next(*fired);
    resolve(*waiter);
  }
  return is_any;
}

/// The loop found the eventfd readable.
PyObject* endpoint_call(PyObject* object, PyObject*, PyObject*) {
  EndpointObject& self = as_endpoint(object);
  self.mailbox->clear();
  (void)resume_fired(self);
  if (parking().must_stop(owner_of_waits(*self.state))) resume_all(self);
  if (!let_interrupt_in(*self.state)) return nullptr;
  Py_RETURN_NONE;
}

int endpoint_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  for (AwaitableObject* each = as_endpoint(object).waiting; each != nullptr; each = each->next) {
    Py_VISIT(each->future);
  }
  return 0;
}

int endpoint_clear(PyObject* object) {
  EndpointObject& self = as_endpoint(object);
  while (self.waiting != nullptr) abandon(*self.waiting);
  return 0;
}

void endpoint_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  EndpointObject& self = as_endpoint(object);
  if (self.mailbox != nullptr) {
    parking().remove(*self.mailbox);
    for (MailboxWaiter* fired = self.mailbox->close(); fired != nullptr;) {
      const auto waiter = Ref<AsyncWaiter>::steal(as_async(fired));
      fired = Mailbox::next(*fired);
    }
    (void)endpoint_clear(object);
    self.mailbox->release();
  }
  if (self.inbox != nullptr) self.inbox->release();
  delete self.source;
  auto& endpoints = self.state->endpoints;
  const auto known = endpoints.find(self.loop_address);
  if (known != endpoints.end() && known->second == &self) endpoints.erase(known);
  drop(self.loop_reference);
  free_instance(object);
}

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(endpoint_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(endpoint_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(endpoint_clear)},
    {Py_tp_call, reinterpret_cast<void*>(endpoint_call)},
    {0, nullptr},
};

PyType_Spec spec = {"erlang._LoopEndpoint", sizeof(EndpointObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                        Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

/// `reactor`: empty, the loop is not one of ours.
PyRef new_endpoint(ModuleState& state, PyObject* loop, const Ref<LoopReactor>& reactor) {
  PyRef reference = PyRef::steal(PyWeakref_NewRef(loop, nullptr));
  if (!reference) return {};
  Ref<LoopMailbox> mailbox = reactor ? LoopMailbox::create(owner_of_waits(state), reactor)
                                     : LoopMailbox::create(owner_of_waits(state));
  if (!mailbox) {
    PyErr_SetFromErrno(PyExc_OSError);
    return {};
  }
  EndpointObject* const self = PyObject_GC_New(EndpointObject, state.endpoint_type);
  if (self == nullptr) return {};
  self->state = &state;
  self->mailbox = mailbox.take();
  self->loop_reference = reference.take();
  self->loop_address = loop;
  self->waiting = nullptr;
  self->inbox = nullptr;
  self->source = nullptr;
  parking().add(*self->mailbox);
  PyObject_GC_Track(self);
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

/// False: an exception is set.
bool watch_mailbox(ModuleState& state, PyObject* loop, PyObject* endpoint) {
  const PyRef fd = PyRef::steal(PyLong_FromLong(as_endpoint(endpoint).mailbox->fd()));
  if (!fd) return false;
  const PyRef added = PyRef::steal(
      PyObject_CallMethodObjArgs(loop, state.names.add_reader, fd.get(), endpoint, nullptr));
  return static_cast<bool>(added);
}

bool add_to(LoopCore& loop, PyObject* endpoint) {
  EndpointObject& self = as_endpoint(endpoint);
  self.source = new (std::nothrow) EndpointSource(self);
  if (self.source == nullptr) {
    PyErr_NoMemory();
    return false;
  }
  return loop.add_source(*self.source, PyRef::borrow(endpoint));
}

}  // namespace

bool EndpointSource::serve() {
  if (!endpoint_.mailbox->is_empty()) (void)resume_fired(endpoint_);
  return true;
}

bool EndpointSource::comes_soon(std::int64_t) { return !endpoint_.mailbox->is_empty(); }

bool EndpointSource::has_come() {
  if (resume_fired(endpoint_)) return true;
  if (endpoint_.waiting == nullptr || !parking().must_stop(owner_of_waits(*endpoint_.state))) {
    return false;
  }
  resume_all(endpoint_);
  return true;
}

EndpointObject* endpoint_of(ModuleState& state, PyObject* loop) {
  const auto known = state.endpoints.find(loop);
  // Another loop may have lived at this address.
  if (known != state.endpoints.end() && is_loop_of(*known->second, loop)) {
    parking().set_owner(*known->second->mailbox, owner_of_waits(state));
    return known->second;
  }
  LoopCore* const ours = LoopCore::find(state, loop);
  if (ours != nullptr && ours->reactor() == nullptr) return nullptr;
  const PyRef endpoint =
      new_endpoint(state, loop, ours != nullptr ? ours->shared_reactor() : Ref<LoopReactor>());
  if (!endpoint || !(ours != nullptr ? add_to(*ours, endpoint.get())
                                     : watch_mailbox(state, loop, endpoint.get()))) {
    return nullptr;
  }
  EndpointObject& self = as_endpoint(endpoint.get());
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
