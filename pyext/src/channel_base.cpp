// SPDX-License-Identifier: Apache-2.0
#include "channel_base.hpp"

#include <structmember.h>

#include "capsule.hpp"
#include "exceptions.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

using Content = Channel::Content;

const char* type_name(Content content) noexcept {
  return content == Content::bytes ? "ByteChannel" : "Channel";
}

unsigned long long number(std::uint64_t value) noexcept { return value; }

PyObject* channel_closed(PyObject* object, void*) {
  const Channel* const channel = as_channel(object).channel;
  return PyBool_FromLong(channel == nullptr || channel->is_closed());
}

}  // namespace

// Errors
// -------------------------------------------------------------------------------------------

bool require_channel(const ChannelObject& self) {
  if (self.channel != nullptr) return true;
  PyErr_SetString(PyExc_TypeError, self.content == Content::bytes
                                       ? "expected byte channel reference"
                                       : "expected channel reference");
  return false;
}

void raise_status(const ModuleState& state, const Channel& channel, Status status) {
  const bool is_bytes = channel.content() == Content::bytes;
  switch (status) {
    case Status::closed:
      PyErr_SetString(is_bytes ? state.byte_channel_closed : state.channel_closed,
                      "the channel is closed");
      break;
    case Status::too_large:
      PyErr_SetString(PyExc_ValueError, "the message is larger than the channel's max_size");
      break;
    case Status::not_shared:
      raise_not_shared();
      break;
    case Status::out_of_memory:
      PyErr_NoMemory();
      break;
    default:
      PyErr_SetString(PyExc_SystemError, "unexpected status of a channel");
  }
}

// Life
// ---------------------------------------------------------------------------------------------

PyObject* new_channel_object(PyTypeObject* type, PyObject* args, PyObject* keywords,
                             Content content) {
  PyObject* ref = nullptr;
  static const char* names[] = {"ref", nullptr};
  const char* const format = content == Content::bytes ? "O:ByteChannel" : "O:Channel";
  if (PyArg_ParseTupleAndKeywords(args, keywords, format, const_cast<char**>(names), &ref) == 0) {
    return nullptr;
  }
  // By definition, not by type: Python code may subclass it.
  PyObject* const module = PyType_GetModuleByDef(type, &native_module);
  if (module == nullptr) return nullptr;
  PyObject* const object = type->tp_alloc(type, 0);
  if (object == nullptr) return nullptr;
  ChannelObject& self = as_channel(object);
  self.state = &state_of(module);
  self.content = content;
  Channel* const channel = channel_of(*self.state, ref);
  if (channel != nullptr && channel->content() == content) {
    self.channel = Ref<Channel>::borrow(channel).take();
  }
  return object;
}

void channel_dealloc(PyObject* object) {
  ChannelObject& self = as_channel(object);
  if (self.weak_references != nullptr) PyObject_ClearWeakRefs(object);
  if (self.channel != nullptr) self.channel->release();
  free_instance(object);
}

PyObject* channel_close(PyObject* object, PyObject*) {
  if (Channel* const channel = as_channel(object).channel) channel->close();
  Py_RETURN_NONE;
}

PyObject* channel_enter(PyObject* object, PyObject*) { return PyRef::borrow(object).take(); }

PyObject* channel_exit(PyObject* object, PyObject* const*, Py_ssize_t) {
  if (Channel* const channel = as_channel(object).channel) channel->close();
  Py_RETURN_NONE;
}

// Being looked at
// ----------------------------------------------------------------------------------

PyObject* channel_self(PyObject* object) { return PyRef::borrow(object).take(); }

PyObject* channel_info(PyObject* object, PyObject*) {
  const ChannelObject& self = as_channel(object);
  if (!require_channel(self)) return nullptr;
  const Channel& channel = *self.channel;
  PyObject* const closed = channel.is_closed() ? Py_True : Py_False;
  if (self.content == Content::terms) {
    return Py_BuildValue("{s:K,s:K,s:O}", "size", number(channel.size()), "max_size",
                         number(channel.max_size()), "closed", closed);
  }
  return Py_BuildValue("{s:K,s:K,s:O,s:K}", "size", number(channel.size()), "max_size",
                       number(channel.max_size()), "closed", closed, "pinned",
                       number(channel.pinned()));
}

PyObject* channel_repr(PyObject* object) {
  const ChannelObject& self = as_channel(object);
  const char* const name = type_name(self.content);
  if (self.channel == nullptr) return PyUnicode_FromFormat("<erlang.%s of no channel>", name);
  return PyUnicode_FromFormat("<erlang.%s at %p, %llu bytes queued%s>", name, self.channel,
                              number(self.channel->size()),
                              self.channel->is_closed() ? ", closed" : "");
}

Py_hash_t channel_hash(PyObject* object) {
  const Channel* const channel = as_channel(object).channel;
  if (channel == nullptr) return PyBaseObject_Type.tp_hash(object);
  // Channels are cache-line aligned: the low bits say nothing.
  return static_cast<Py_hash_t>(reinterpret_cast<std::uintptr_t>(channel) >> 7);
}

PyObject* channel_compare(PyObject* left, PyObject* right, int operation) {
  const bool comparable = is_channel(*as_channel(left).state, right);
  if (!comparable || (operation != Py_EQ && operation != Py_NE)) Py_RETURN_NOTIMPLEMENTED;
  const Channel* const channel = as_channel(left).channel;
  const bool equal = left == right || (channel != nullptr && channel == as_channel(right).channel);
  return PyBool_FromLong(equal == (operation == Py_EQ));
}

PyGetSetDef channel_properties[] = {
    {"closed", channel_closed, nullptr, "Whether sends are refused; messages may still be queued.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMemberDef channel_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ChannelObject, weak_references), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

}  // namespace penstock::python
