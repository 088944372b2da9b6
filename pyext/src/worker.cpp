// SPDX-License-Identifier: Apache-2.0
#include "worker.hpp"

#include <fcntl.h>

#include <exception>
#include <new>

#include "gil.hpp"
#include "output.hpp"
#include "penstock/descriptors.hpp"
#include "penstock/python/runtime.hpp"
#include "penstock/thread.hpp"
#include "runtime_thread.hpp"
#include "uplink.hpp"

namespace penstock::python {

namespace {

/// What the VM gives a worker.
struct Connection {
  Ref<Link> link;
  Ref<Domain> domain;  // None: this process shares no channels.
  Descriptor passing;
  std::uint64_t process = 0;  // The word of the context's pid.
  OutputSettings output{};    // What is to be sent.
};

/// False: the VM is gone, or is none. Throws system_error or bad_alloc.
bool connect(int socket, Connection* connection) {
  std::uint8_t byte = 0;
  int numbers[3];
  if (receive_descriptors(socket, {&byte, 1}, numbers) <= 0) return false;
  Descriptor memory(numbers[0]);
  Descriptor bells(numbers[1]);
  connection->passing = Descriptor(numbers[2]);
  if (memory.get() < 0 || bells.get() < 0 || connection->passing.get() < 0) return false;
  connection->link =
      Link::create(Segment::attach(memory.take(), Link::bytes()), socket, Link::Side::worker);
  Message frame;
  FrameHead head{};
  std::span<const std::uint8_t> rest;
  if (connection->link->receive(frame, kNoDeadline) != Status::ok ||
      !read_frame(frame.bytes(), &head, &rest) || head.kind != FrameKind::setup) {
    return false;
  }
  connection->process = head.id;
  connection->output = {(head.detail & kSendLogs) != 0, (head.detail & kSendText) != 0};
  const unsigned number = head.detail >> kSetupNumber;
  if (number != 0) connection->domain = Domain::join(bells.take(), number);
  return true;
}

/// The VM's setup. False: an exception is set.
bool connect_to_vm(int socket, Connection* connection) {
  (void)fcntl(socket, F_SETFD, FD_CLOEXEC);
  bool is_connected = false;
  {
    const GilRelease released;
    try {
      is_connected = connect(socket, connection);
    } catch (const std::exception&) {
      is_connected = false;
    }
  }
  if (!is_connected) {
    PyErr_SetString(PyExc_ConnectionError, "nobody in Erlang is at the other end");
  }
  return is_connected;
}

/// False: an exception is set.
bool start_receiving(Uplink& uplink) {
  const auto body = [](void* of) -> void* {
    name_this_thread("penstock link");
    static_cast<Uplink*>(of)->run();
  };
  if (start_thread(body, &uplink)) return true;
  PyErr_NoMemory();
  return false;
}

PyObject* serve(PyObject* module, PyObject* argument) {
  const long socket = PyLong_AsLong(argument);
  if (socket == -1 && PyErr_Occurred() != nullptr) return nullptr;
  Connection connection;
  if (!connect_to_vm(static_cast<int>(socket), &connection)) return nullptr;
  if (const std::string failure = adopt_runtime(state_of(module)); !failure.empty()) {
    PyErr_SetString(PyExc_RuntimeError, failure.c_str());
    return nullptr;
  }
  Ref<Context> context = Context::adopt_this_thread(connection.process);
  auto* const uplink = context ? new (std::nothrow) Uplink(std::move(connection.link), context,
                                                           std::move(connection.passing),
                                                           std::move(connection.domain))
                               : nullptr;
  if (uplink == nullptr) return PyErr_NoMemory();
  set_host(uplink);
  if (!uplink->open_output(connection.output)) return PyErr_NoMemory();
  if (!install_output()) return nullptr;
  if (!start_receiving(*uplink)) return nullptr;
  uplink->tell(FrameKind::ready);
  context->serve_here(*uplink);
  {
    const GilRelease released;
    runtime_thread()->leave();
  }
  Py_RETURN_NONE;
}

}  // namespace

// clang-format off
PyMethodDef worker_functions[] = {
    {"_serve_worker", serve, METH_O,
     "_serve_worker(socket, /)\n--\n\n"
     "Run what the VM at the other end of the socket, a descriptor, asks for, until it says that\n"
     "this is enough. If the VM is gone the process ends at once. Only in the main thread, once."},
    {nullptr, nullptr, 0, nullptr},
};
// clang-format on

}  // namespace penstock::python
