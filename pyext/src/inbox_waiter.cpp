// SPDX-License-Identifier: Apache-2.0
#include "inbox_waiter.hpp"

#include "caller.hpp"
#include "loop_endpoint.hpp"
#include "parking.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

InboxReaderObject& as_reader(PyObject* object) noexcept {
  return *reinterpret_cast<InboxReaderObject*>(object);
}

/// A loop found the eventfd readable.
PyObject* reader_call(PyObject* object, PyObject*, PyObject*) {
  InboxReaderObject& self = as_reader(object);
  self.mailbox->clear();
  take_fired(self.mailbox->take());
  if (self.caller != nullptr && !self.caller->serve_loop()) return nullptr;
  Py_RETURN_NONE;
}

void reader_dealloc(PyObject* object) {
  InboxReaderObject& self = as_reader(object);
  forget_caller(self);
  if (self.mailbox != nullptr) self.mailbox->release();
  free_instance(object);
}

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(reader_dealloc)},
    {Py_tp_call, reinterpret_cast<void*>(reader_call)},
    {0, nullptr},
};

PyType_Spec spec = {
    "erlang._InboxReader", sizeof(InboxReaderObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

}  // namespace

void take_fired(MailboxWaiter* fired) noexcept {
  while (fired != nullptr) {
    // The reference that the line held.
    const auto waiter = Ref<InboxWaiter>::steal(static_cast<InboxWaiter*>(fired));
    fired = Mailbox::next(*fired);
    waiter->is_linked = false;
  }
}

PyObject* new_inbox_reader(ModuleState& state, Caller& caller) {
  InboxReaderObject* const self = PyObject_New(InboxReaderObject, state.inbox_reader_type);
  if (self == nullptr) return nullptr;
  self->mailbox = nullptr;
  self->caller = &caller;
  return reinterpret_cast<PyObject*>(self);
}

void forget_caller(InboxReaderObject& reader) noexcept {
  if (std::exchange(reader.caller, nullptr) == nullptr || reader.mailbox == nullptr) return;
  parking().remove(*reader.mailbox);
  take_fired(reader.mailbox->close());
}

bool watch_inbox(ModuleState& state, PyObject* loop, InboxReaderObject& reader) {
  if (reader.mailbox == nullptr) {
    reader.mailbox = LoopMailbox::create(owner_of_waits(state)).take();
    if (reader.mailbox == nullptr) {
      PyErr_SetFromErrno(PyExc_OSError);
      return false;
    }
    parking().add(*reader.mailbox);
  }
  EndpointObject* const endpoint = endpoint_of(state, loop);
  if (endpoint == nullptr) return false;
  if (endpoint->inbox == reader.mailbox) return true;
  const PyRef fd = PyRef::steal(PyLong_FromLong(reader.mailbox->fd()));
  if (!fd) return false;
  const PyRef added = PyRef::steal(PyObject_CallMethodObjArgs(
      loop, state.names.add_reader, fd.get(), reinterpret_cast<PyObject*>(&reader), nullptr));
  if (!added) return false;
  reader.mailbox->retain();
  if (endpoint->inbox != nullptr) endpoint->inbox->release();
  endpoint->inbox = reader.mailbox;
  return true;
}

bool add_inbox_reader_type(PyObject* module, ModuleState& state) {
  return make_type(module, spec, state.inbox_reader_type);
}

}  // namespace penstock::python
