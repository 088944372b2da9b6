// SPDX-License-Identifier: Apache-2.0
#include <thread>
#include <vector>

#include "capsule.hpp"
#include "decode.hpp"
#include "encode.hpp"
#include "functions.hpp"
#include "gil.hpp"
#include "parking.hpp"
#include "penstock/bytes.hpp"
#include "utf8.hpp"

namespace penstock::python {

namespace {

PyObject* test_encode(PyObject* module, PyObject* object) {
  Message message;
  if (!encode_whole(state_of(module), message, object)) return nullptr;
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
  const bool is_bytes = count > 1 && PyObject_IsTrue(args[1]) == 1;
  if (PyErr_Occurred() != nullptr) return nullptr;
  Ref<Channel> channel =
      Channel::create(max_size, is_bytes ? Channel::Content::bytes : Channel::Content::terms);
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

/// Bytes that are not Python's, as a large binary of Erlang is.
class ForeignBytes final : public wire::PinnedBytes {
 public:
  explicit ForeignBytes(std::vector<std::uint8_t> bytes) noexcept
      : PinnedBytes({}), memory_(std::move(bytes)) {
    bytes_ = memory_;
    living.fetch_add(1, order::relaxed);
  }
  static inline Atomic<int> living{0};

 private:
  ~ForeignBytes() override { living.fetch_sub(1, order::relaxed); }
  const std::vector<std::uint8_t> memory_;
};

PyObject* test_send_foreign(PyObject* module, PyObject* const* args, Py_ssize_t count) {
  Channel* const channel = require_channel_of(module, args[0]);
  if (channel == nullptr || count != 2) return nullptr;
  const auto* const data = reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(args[1]));
  std::vector<std::uint8_t> memory(data, data + PyBytes_GET_SIZE(args[1]));
  auto foreign = Ref<wire::PinnedBytes>::steal(new ForeignBytes(std::move(memory)));
  Message message;
  const bool sent =
      bytes::refer_to(message, std::move(foreign)) && channel->try_send(message) == Status::ok;
  return PyBool_FromLong(sent);
}

PyObject* test_foreign_living(PyObject*, PyObject*) {
  return PyLong_FromLong(ForeignBytes::living.load(order::relaxed));
}

PyObject* test_receive_without_gil(PyObject* module, PyObject* object) {
  Channel* const channel = require_channel_of(module, object);
  if (channel == nullptr) return nullptr;
  Status status = Status::empty;
  {
    const GilRelease released;
    std::thread([&] {
      Message message;
      status = channel->try_receive(message);
    }).join();
  }
  return PyBool_FromLong(status == Status::ok);
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
     "A channel (of max_size, of bytes), as a capsule, that somebody may always send to. Tests only."},
    {"_send_foreign", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(test_send_foreign)), METH_FASTCALL,
     "Sends bytes by reference, as Erlang does. Tests only."},
    {"_foreign_living", test_foreign_living, METH_NOARGS, "How many of those live. Tests only."},
    {"_receive_without_gil", test_receive_without_gil, METH_O,
     "Drops a message on a thread that Python does not know. Tests only."},
    {"_remove_sender", test_remove_sender, METH_O, "Takes that sender away. Tests only."},
    {"_waiting", test_waiting, METH_O, "How many wait for data, and for room. Tests only."},
    {"_endpoints", test_endpoints, METH_NOARGS, "How many event loops are known. Tests only."},
    {"_set_stopped", test_set_stopped, METH_O, "As the application's stop does. Tests only."},
    {nullptr, nullptr, 0, nullptr},
};
// clang-format on

}  // namespace penstock::python
