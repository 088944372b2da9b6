// SPDX-License-Identifier: Apache-2.0
#include "worker.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <cstring>
#include <new>
#include <system_error>

#include "gil.hpp"
#include "os_thread.hpp"
#include "penstock/python/runtime.hpp"
#include "runtime_thread.hpp"
#include "uplink.hpp"

namespace penstock::python {

namespace {

/// The descriptor that the VM sends first. -1: it did not.
int receive_descriptor(int socket) noexcept {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t count = 0;
  do {
    count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (count < 0 && errno == EINTR);
  const cmsghdr* const head = count > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (head == nullptr || head->cmsg_type != SCM_RIGHTS || head->cmsg_len != CMSG_LEN(sizeof(int))) {
    return -1;
  }
  int descriptor = -1;
  std::memcpy(&descriptor, CMSG_DATA(head), sizeof descriptor);
  return descriptor;
}

/// The VM's setup. Empty: an exception is set.
Ref<Link> connect(int socket, std::uint64_t* process) {
  (void)fcntl(socket, F_SETFD, FD_CLOEXEC);
  Ref<Link> link;
  Status status = Status::closed;
  {
    const GilRelease released;
    const int memory = receive_descriptor(socket);
    try {
      if (memory >= 0) {
        link = Link::create(Segment::attach(memory, Link::bytes()), socket, Link::Side::worker);
      }
    } catch (const std::exception&) {
      link = {};
    }
    Message frame;
    if (link) status = link->receive(frame, kNoDeadline);
    FrameHead head{};
    std::span<const std::uint8_t> rest;
    if (status == Status::ok && read_frame(frame.bytes(), &head, &rest) &&
        head.kind == FrameKind::setup) {
      *process = head.id;
    } else {
      status = Status::corrupt;
    }
  }
  if (status == Status::ok) return link;
  PyErr_SetString(PyExc_ConnectionError, "nobody in Erlang is at the other end");
  return {};
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
  std::uint64_t process = 0;
  Ref<Link> link = connect(static_cast<int>(socket), &process);
  if (!link) return nullptr;
  if (const std::string failure = adopt_runtime(state_of(module)); !failure.empty()) {
    PyErr_SetString(PyExc_RuntimeError, failure.c_str());
    return nullptr;
  }
  Ref<Context> context = Context::adopt_this_thread(process);
  auto* const uplink = context ? new (std::nothrow) Uplink(std::move(link), context) : nullptr;
  if (uplink == nullptr) return PyErr_NoMemory();
  set_host(uplink);
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
