// SPDX-License-Identifier: Apache-2.0
#include "shared_channel.hpp"

#include <cerrno>
#include <climits>
#include <new>
#include <string>
#include <system_error>

#include "capsule.hpp"
#include "gil.hpp"
#include "penstock/host.hpp"
#include "penstock/sharing.hpp"
#include "penstock/shim.hpp"
#include "timeouts.hpp"

namespace penstock::python {

namespace {

/// Runs `make`, which may block and throw, without the GIL. Empty: an exception is set.
template <class Make>
auto without_gil(Make make) -> decltype(make()) {
  int error = 0;
  std::string what;
  {
    const GilRelease released;
    try {
      return make();
    } catch (const std::system_error& failure) {
      error = failure.code().value();
      what = failure.what();
    } catch (const std::bad_alloc&) {
      error = ENOMEM;
    }
  }
  // A handler of a signal has set what ended the wait.
  if (PyErr_Occurred() != nullptr) return {};
  if (error == ENOMEM) {
    PyErr_NoMemory();
  } else if (error == ETIMEDOUT) {
    PyErr_SetString(PyExc_TimeoutError, "the creator of the channel does not answer");
  } else {
    errno = error;
    const PyRef text = PyRef::steal(PyUnicode_DecodeFSDefault(what.c_str()));
    const PyRef exception = PyRef::steal(
        text ? PyObject_CallFunction(PyExc_OSError, "iO", error, text.get()) : nullptr);
    if (exception) {
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
    }
  }
  return {};
}

/// A channel as the constructors of erlang.Channel and ByteChannel take it, and whether it is of
/// bytes.
PyObject* result_of(Ref<Channel> channel) {
  if (!channel) return nullptr;
  const bool is_bytes = channel->content() == Channel::Content::bytes;
  const PyRef capsule = PyRef::steal(new_channel_capsule(std::move(channel)));
  if (!capsule) return nullptr;
  return PyTuple_Pack(2, capsule.get(), is_bytes ? Py_True : Py_False);
}

/// False: RuntimeError is set.
bool require_no_vm() {
  if (host() == nullptr) return true;
  PyErr_SetString(PyExc_RuntimeError,
                  "erlang.shared_channel is for processes without Erlang; here a channel made with "
                  "shared => true does it");
  return false;
}

PyObject* create(PyObject*, PyObject* args) {
  PyObject* address = nullptr;
  unsigned long long max_size = 0;
  int is_bytes = 0;
  if (PyArg_ParseTuple(args, "O&Kp", PyUnicode_FSConverter, &address, &max_size, &is_bytes) == 0) {
    return nullptr;
  }
  const PyRef name = PyRef::steal(address);
  if (!require_no_vm()) return nullptr;
  const std::string text(PyBytes_AS_STRING(name.get()),
                         static_cast<std::size_t>(PyBytes_GET_SIZE(name.get())));
  return result_of(without_gil([&] {
    return sharing::create(text, max_size,
                           is_bytes != 0 ? Channel::Content::bytes : Channel::Content::terms);
  }));
}

/// Until then, or a handler of a signal raises. Waits without the GIL of this thread.
sharing::Patience patience_until(std::int64_t deadline_ns) {
  return {deadline_ns, [state = PyThreadState_Get()] {
            const GilHold held(state);
            return PyErr_CheckSignals() != 0;
          }};
}

PyObject* connect(PyObject*, PyObject* args) {
  PyObject* address = nullptr;
  PyObject* timeout = nullptr;
  if (PyArg_ParseTuple(args, "OO", &address, &timeout) == 0) return nullptr;
  Descriptor socket;  // Taken over, whatever else is wrong.
  if (PyLong_CheckExact(address)) {
    const long number = PyLong_AsLong(address);
    if (number == -1 && PyErr_Occurred() != nullptr) return nullptr;
    if (number < 0 || number > INT_MAX) {
      PyErr_SetString(PyExc_ValueError, "not a descriptor");
      return nullptr;
    }
    socket = Descriptor(static_cast<int>(number));
  }
  std::int64_t deadline_ns = kNoDeadline;
  if (!deadline_of_seconds(timeout, deadline_ns) || !require_no_vm()) return nullptr;
  const sharing::Patience patience = patience_until(deadline_ns);
  if (PyLong_CheckExact(address)) {
    return result_of(without_gil([&] { return sharing::connect(std::move(socket), patience); }));
  }
  PyObject* converted = nullptr;
  if (PyUnicode_FSConverter(address, &converted) == 0) return nullptr;
  const PyRef name = PyRef::steal(converted);
  const std::string text(PyBytes_AS_STRING(name.get()),
                         static_cast<std::size_t>(PyBytes_GET_SIZE(name.get())));
  return result_of(without_gil([&] { return sharing::connect(text, patience); }));
}

PyObject* invite(PyObject* module, PyObject* object) {
  const Channel* const channel = channel_of(state_of(module), object);
  if (channel == nullptr) {
    PyErr_SetString(PyExc_TypeError, "expected erlang.Channel or erlang.ByteChannel");
    return nullptr;
  }
  const auto alive = Ref<Channel>::borrow(const_cast<Channel*>(channel));
  Descriptor invitation = without_gil([&] { return sharing::invite(*alive); });
  if (invitation.get() < 0) return nullptr;
  return PyLong_FromLong(invitation.take());
}

PyObject* remove_names(PyObject*, PyObject*) {
  sharing::remove_names();
  Py_RETURN_NONE;
}

}  // namespace

// clang-format off
PyMethodDef shared_channel_functions[] = {
    {"_create_shared", create, METH_VARARGS,
     "_create_shared(address, max_size, is_bytes, /)\n--\n\n"
     "A new channel that processes share, as a capsule, and is_bytes."},
    {"_connect_shared", connect, METH_VARARGS,
     "_connect_shared(address, timeout, /)\n--\n\n"
     "One that another process has created. An int is a socket, which is taken over."},
    {"_invite_to_shared", invite, METH_O,
     "_invite_to_shared(channel, /)\n--\n\n"
     "A socket, as a descriptor, by which one process may connect."},
    {"_remove_shared_names", remove_names, METH_NOARGS,
     "_remove_shared_names()\n--\n\n"
     "Remove the paths of channels that this process has created."},
    {nullptr, nullptr, 0, nullptr},
};
// clang-format on

}  // namespace penstock::python
