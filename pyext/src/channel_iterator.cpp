// SPDX-License-Identifier: Apache-2.0
#include "channel_iterator.hpp"

#include "channel_base.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

struct IteratorObject {
  PyObject_HEAD PyObject* channel;  ///< Strong, for life: another thread may be blocked on it.
  Received received;
  bool has_ended;
};

IteratorObject& as_iterator(PyObject* object) noexcept {
  return *reinterpret_cast<IteratorObject*>(object);
}

PyObject* iterator_next(PyObject* object) {
  IteratorObject& self = as_iterator(object);
  if (self.has_ended) return nullptr;
  const ChannelObject& channel = as_channel(self.channel);
  Message message;
  Status status = Status::empty;
  if (!receive_blocking(*channel.state, *channel.channel, message, kNoDeadline, status)) {
    return nullptr;
  }
  if (status != Status::closed) {
    return self.received(*channel.state, *channel.channel, status, message);
  }
  self.has_ended = true;
  return nullptr;
}

int iterator_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(as_iterator(object).channel);
  return 0;
}

int iterator_clear(PyObject* object) {
  drop(std::exchange(as_iterator(object).channel, nullptr));
  return 0;
}

void iterator_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  (void)iterator_clear(object);
  free_instance(object);
}

PyMethodDef methods[] = {
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(iterator_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(iterator_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(iterator_clear)},
    {Py_tp_iter, reinterpret_cast<void*>(PyObject_SelfIter)},
    {Py_tp_iternext, reinterpret_cast<void*>(iterator_next)},
    {Py_tp_methods, methods},
    {0, nullptr},
};

PyType_Spec spec = {"erlang.ChannelIterator", sizeof(IteratorObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                        Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

}  // namespace

PyObject* new_iterator(ModuleState& state, PyObject* channel, Received received) {
  IteratorObject* const self = PyObject_GC_New(IteratorObject, state.iterator_type);
  if (self == nullptr) return nullptr;
  self->channel = PyRef::borrow(channel).take();
  self->received = received;
  self->has_ended = false;
  auto* const object = reinterpret_cast<PyObject*>(self);
  PyObject_GC_Track(object);
  return object;
}

bool add_iterator_type(PyObject* module, ModuleState& state) {
  return add_type(module, spec, state.iterator_type);
}

}  // namespace penstock::python
