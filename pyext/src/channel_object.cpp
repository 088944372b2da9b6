// SPDX-License-Identifier: Apache-2.0
#include "channel_object.hpp"

#include <structmember.h>

#include "capsule.hpp"
#include "channel_receiving.hpp"
#include "channel_sending.hpp"
#include "types.hpp"

namespace penstock::python {

// Receiving
// ----------------------------------------------------------------------------------------

bool require_channel(const ChannelObject& self) {
  if (self.channel != nullptr) return true;
  PyErr_SetString(PyExc_TypeError, "expected channel reference");
  return false;
}

namespace {

PyObject* channel_self(PyObject* object) { return PyRef::borrow(object).take(); }

// Life
// ---------------------------------------------------------------------------------------------

PyObject* channel_close(PyObject* object, PyObject*) {
  if (Channel* const channel = as_channel(object).channel) channel->close();
  Py_RETURN_NONE;
}

PyObject* channel_enter(PyObject* object, PyObject*) { return PyRef::borrow(object).take(); }

PyObject* channel_exit(PyObject* object, PyObject* const*, Py_ssize_t) {
  if (Channel* const channel = as_channel(object).channel) channel->close();
  Py_RETURN_NONE;
}

PyObject* channel_closed(PyObject* object, void*) {
  const Channel* const channel = as_channel(object).channel;
  return PyBool_FromLong(channel == nullptr || channel->is_closed());
}

PyObject* channel_info(PyObject* object, PyObject*) {
  const ChannelObject& self = as_channel(object);
  if (!require_channel(self)) return nullptr;
  return Py_BuildValue("{s:K,s:K,s:O}", "size",
                       static_cast<unsigned long long>(self.channel->size()), "max_size",
                       static_cast<unsigned long long>(self.channel->max_size()), "closed",
                       self.channel->is_closed() ? Py_True : Py_False);
}

PyObject* channel_repr(PyObject* object) {
  const Channel* const channel = as_channel(object).channel;
  if (channel == nullptr) return PyUnicode_FromString("<erlang.Channel of no channel>");
  return PyUnicode_FromFormat("<erlang.Channel at %p, %llu bytes queued%s>", channel,
                              static_cast<unsigned long long>(channel->size()),
                              channel->is_closed() ? ", closed" : "");
}

Py_hash_t channel_hash(PyObject* object) {
  const Channel* const channel = as_channel(object).channel;
  if (channel == nullptr) return PyBaseObject_Type.tp_hash(object);
  // Channels are cache-line aligned: the low bits say nothing.
  return static_cast<Py_hash_t>(reinterpret_cast<std::uintptr_t>(channel) >> 7);
}

PyObject* channel_compare(PyObject* left, PyObject* right, int operation) {
  const bool comparable = PyObject_TypeCheck(right, as_channel(left).state->channel_type) != 0;
  if (!comparable || (operation != Py_EQ && operation != Py_NE)) Py_RETURN_NOTIMPLEMENTED;
  const Channel* const channel = as_channel(left).channel;
  const bool equal = left == right || (channel != nullptr && channel == as_channel(right).channel);
  return PyBool_FromLong(equal == (operation == Py_EQ));
}

PyObject* channel_new(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  PyObject* ref = nullptr;
  static const char* names[] = {"ref", nullptr};
  if (PyArg_ParseTupleAndKeywords(args, keywords, "O:Channel", const_cast<char**>(names), &ref) ==
      0) {
    return nullptr;
  }
  // By definition, not by type: Python code may subclass Channel.
  PyObject* const module = PyType_GetModuleByDef(type, &native_module);
  if (module == nullptr) return nullptr;
  PyObject* const object = type->tp_alloc(type, 0);
  if (object == nullptr) return nullptr;
  ChannelObject& self = as_channel(object);
  self.state = &state_of(module);
  self.channel = Ref<Channel>::borrow(channel_of(*self.state, ref)).take();
  return object;
}

void channel_dealloc(PyObject* object) {
  ChannelObject& self = as_channel(object);
  if (self.weak_references != nullptr) PyObject_ClearWeakRefs(object);
  if (self.channel != nullptr) self.channel->release();
  free_instance(object);
}

// clang-format off
PyMethodDef methods[] = {
    {"receive", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(channel_receive)),
     METH_FASTCALL | METH_KEYWORDS,
     "receive(timeout=None, *, timeout_ms=None)\n--\n\n"
     "Take the oldest message; block until there is one, without the GIL.\n\n"
     "timeout is in seconds, timeout_ms in milliseconds (negative: none). Raises ChannelClosed once\n"
     "the channel is closed and drained, TimeoutError."},
    {"try_receive", channel_try_receive, METH_NOARGS,
     "try_receive()\n--\n\n"
     "Take the oldest message, or return None if there is none. Never blocks; raises ChannelClosed."},
    {"async_receive", channel_async_receive, METH_NOARGS,
     "async_receive()\n--\n\n"
     "Take the oldest message; a coroutine that waits on the running asyncio loop.\n\n"
     "Cancelling it loses no message. Raises ChannelClosed."},
    {"send", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(channel_send)),
     METH_FASTCALL | METH_KEYWORDS,
     "send(term, timeout=None)\n--\n\n"
     "Queue a term; block while the channel is full, without the GIL.\n\n"
     "timeout is in seconds. Raises ChannelClosed, TimeoutError, ValueError if the term is larger\n"
     "than max_size, TypeError if it cannot be converted."},
    {"try_send", channel_try_send, METH_O,
     "try_send(term, /)\n--\n\n"
     "Queue a term and return True, or False if the channel is full. Never blocks."},
    {"close", channel_close, METH_NOARGS,
     "close()\n--\n\nRefuse further messages and wake everybody who waits. Idempotent."},
    {"info", channel_info, METH_NOARGS,
     "info()\n--\n\nReturn {'size': bytes queued, 'max_size': bytes or 0, 'closed': bool}."},
    {"__enter__", channel_enter, METH_NOARGS, nullptr},
    {"__exit__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(channel_exit)), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"closed", channel_closed, nullptr, "Whether sends are refused; messages may still be queued.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ChannelObject, weak_references), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(channel_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(channel_dealloc)},
    {Py_tp_repr, reinterpret_cast<void*>(channel_repr)},
    {Py_tp_hash, reinterpret_cast<void*>(channel_hash)},
    {Py_tp_richcompare, reinterpret_cast<void*>(channel_compare)},
    {Py_tp_iter, reinterpret_cast<void*>(channel_iter)},
    {Py_am_aiter, reinterpret_cast<void*>(channel_self)},
    {Py_am_anext, reinterpret_cast<void*>(channel_anext)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_members, members},
    {Py_tp_doc, const_cast<char*>(
        "Channel(ref)\n--\n\n"
        "One queue of messages between Erlang and Python; safe to share between threads and loops.\n\n"
        "Iterating takes messages until the channel is closed and drained.")},
    {0, nullptr},
};
// clang-format on

PyType_Spec spec = {"erlang.Channel", sizeof(ChannelObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};

}  // namespace

bool add_channel_type(PyObject* module, ModuleState& state) {
  return add_type(module, spec, state.channel_type);
}

}  // namespace penstock::python
