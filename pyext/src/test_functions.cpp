// SPDX-License-Identifier: Apache-2.0
#include "capsule.hpp"
#include "decode.hpp"
#include "encode.hpp"
#include "functions.hpp"
#include "parking.hpp"
#include "utf8.hpp"

namespace penstock::python {

namespace {

PyObject* test_encode(PyObject* module, PyObject* object) {
  Message message;
  if (!encode(state_of(module), message, object)) return nullptr;
  return bytes_of(message.bytes());
}

PyObject* test_encode_reply(PyObject* module, PyObject* object) {
  Message message;
  if (!encode_reply(state_of(module), message, object)) return nullptr;
  return bytes_of(message.bytes());
}

PyObject* test_decode(PyObject* module, PyObject* object) {
  if (!PyBytes_Check(object)) {
    PyErr_SetString(PyExc_TypeError, "expected bytes");
    return nullptr;
  }
  wire::Reader reader({reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(object)),
                       static_cast<std::size_t>(PyBytes_GET_SIZE(object))});
  PyRef value = PyRef::steal(decode(state_of(module), reader, Trust::stranger));
  if (value && !reader.at_end()) {
    PyErr_SetString(PyExc_ValueError, "malformed message");
    return nullptr;
  }
  return value.take();
}

PyObject* test_new_channel(PyObject*, PyObject* const* args, Py_ssize_t count) {
  const unsigned long long max_size = count > 0 ? PyLong_AsUnsignedLongLong(args[0]) : 0;
  if (PyErr_Occurred() != nullptr) return nullptr;
  Ref<Channel> channel = Channel::create(max_size);
  if (!channel) return PyErr_NoMemory();
  channel->add_sender();
  return new_channel_capsule(std::move(channel));
}

/// The channel of args, or nullptr and TypeError.
Channel* require_channel_of(PyObject* module, PyObject* object) {
  Channel* const channel = channel_of(state_of(module), object);
  if (channel == nullptr) PyErr_SetString(PyExc_TypeError, "expected channel reference");
  return channel;
}

PyObject* test_remove_sender(PyObject* module, PyObject* object) {
  Channel* const channel = require_channel_of(module, object);
  if (channel == nullptr) return nullptr;
  channel->remove_sender();
  Py_RETURN_NONE;
}

PyObject* test_waiting(PyObject* module, PyObject* object) {
  Channel* const channel = require_channel_of(module, object);
  if (channel == nullptr) return nullptr;
  return Py_BuildValue("(II)", channel->data_waiters().waiting(),
                       channel->space_waiters().waiting());
}

PyObject* test_endpoints(PyObject* module, PyObject*) {
  return PyLong_FromSize_t(state_of(module).endpoints.size());
}

PyObject* test_set_stopped(PyObject*, PyObject* stopped) {
  parking().set_stopped(PyObject_IsTrue(stopped) == 1);
  Py_RETURN_NONE;
}

}  // namespace

// clang-format off
PyMethodDef test_functions[] = {
    {"_encode", test_encode, METH_O, "The wire form of an object. Tests only."},
    {"_encode_reply", test_encode_reply, METH_O, "The wire form of a reply. Tests only."},
    {"_decode", test_decode, METH_O, "The object of a wire form without addresses. Tests only."},
    {"_new_channel", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(test_new_channel)), METH_FASTCALL,
     "A channel, as a capsule, that somebody may always send to. Tests only."},
    {"_remove_sender", test_remove_sender, METH_O, "Takes that sender away. Tests only."},
    {"_waiting", test_waiting, METH_O, "How many wait for data, and for room. Tests only."},
    {"_endpoints", test_endpoints, METH_NOARGS, "How many event loops are known. Tests only."},
    {"_set_stopped", test_set_stopped, METH_O, "As the application's stop does. Tests only."},
    {nullptr, nullptr, 0, nullptr},
};
// clang-format on

}  // namespace penstock::python
