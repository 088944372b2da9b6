// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"
#include "penstock/channel.hpp"

/// What erlang.Channel and erlang.ByteChannel have in common.
namespace penstock::python {

/// An instance of either. Owns a reference to the channel, or none if it was made of something
/// else, a channel of the other kind included.
struct ChannelObject {
  PyObject_HEAD ModuleState* state;
  Channel* channel;
  PyObject* weak_references;
  Channel::Content content;
  bool has_sent;  ///< Was counted as a sender: for good, since Python may send again.
};

[[nodiscard]] inline ChannelObject& as_channel(PyObject* object) noexcept {
  return *reinterpret_cast<ChannelObject*>(object);
}

[[nodiscard]] inline bool is_channel(const ModuleState& state, PyObject* object) noexcept {
  return PyObject_TypeCheck(object, state.channel_type) != 0 ||
         PyObject_TypeCheck(object, state.byte_channel_type) != 0;
}

/// True, or TypeError is set.
[[nodiscard]] bool require_channel(const ChannelObject& self);

/// From the first time on Python counts as a sender, so that receivers wait for it.
inline void count_as_sender(ChannelObject& self) noexcept {
  if (!std::exchange(self.has_sent, true)) self.channel->add_sender();
}

/// Raises what is exceptional about `status`: ChannelClosed or ByteChannelClosed, ValueError,
/// MemoryError.
void raise_status(const ModuleState& state, const Channel& channel, Status status);

/// tp_new(ref).
[[nodiscard]] PyObject* new_channel_object(PyTypeObject* type, PyObject* args, PyObject* keywords,
                                           Channel::Content content);

// Slots and methods.
void channel_dealloc(PyObject* object);
PyObject* channel_repr(PyObject* object);
Py_hash_t channel_hash(PyObject* object);
PyObject* channel_compare(PyObject* left, PyObject* right, int operation);
PyObject* channel_self(PyObject* object);
PyObject* channel_close(PyObject* object, PyObject*);
PyObject* channel_enter(PyObject* object, PyObject*);
PyObject* channel_exit(PyObject* object, PyObject* const*, Py_ssize_t);
PyObject* channel_info(PyObject* object, PyObject*);
extern PyGetSetDef channel_properties[];
extern PyMemberDef channel_members[];

/// What method tables hold of functions with METH_FASTCALL.
template <class Function>
[[nodiscard]] PyCFunction method(Function function) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

}  // namespace penstock::python
