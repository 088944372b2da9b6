// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "arguments.hpp"
#include "loop_core.hpp"
#include "loop_methods.hpp"
#include "socket_awaitable.hpp"

/// sock_recv and the like. What a socket needs for each byte is done here by system calls, what it
/// needs for an address by the methods of Python's socket.
namespace penstock::python {

namespace {

constexpr int kUnknown = -2;  ///< An exception is set. -1 is the number of a closed socket.

/// From here on data are received into the object that is returned, not copied there.
constexpr std::size_t kLarge = std::size_t{64} * 1024;

int number_of(const SocketAwaitable& self) {
  const ModuleState& state = LoopCore::of(self.loop).state();
  const PyRef number = PyRef::steal(PyObject_CallMethodNoArgs(self.socket, state.names.fileno));
  if (!number) return kUnknown;
  const long fd = PyLong_AsLong(number.get());
  return fd == -1 && PyErr_Occurred() != nullptr ? kUnknown : static_cast<int>(fd);
}

/// After a system call that has failed. EINTR is not for here.
Attempt after_error(Attempt wait) {
  if (errno == EAGAIN || errno == EWOULDBLOCK) return wait;
  PyErr_SetFromErrno(PyExc_OSError);
  return Attempt::failed;
}

/// After a method of the socket that has failed.
Attempt after_exception(Attempt wait) {
  if (PyErr_ExceptionMatches(PyExc_BlockingIOError) == 0 &&
      PyErr_ExceptionMatches(PyExc_InterruptedError) == 0) {
    return Attempt::failed;
  }
  PyErr_Clear();
  return wait;
}

ssize_t receive(int fd, std::span<char> into) noexcept {
  for (;;) {
    const ssize_t got = ::recv(fd, into.data(), into.size(), MSG_DONTWAIT);
    if (got >= 0 || errno != EINTR) return got;
  }
}

bool size_of(PyObject* argument, std::size_t& size) {
  const Py_ssize_t wanted = PyNumber_AsSsize_t(argument, PyExc_OverflowError);
  if (wanted == -1 && PyErr_Occurred() != nullptr) return false;
  if (wanted < 0) {
    PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
    return false;
  }
  size = static_cast<std::size_t>(wanted);
  return true;
}

/// Whether the socket can be read, so that a method that would fail is not called at all.
bool is_readable(int fd) noexcept {
  pollfd asked{fd, POLLIN, 0};
  return ::poll(&asked, 1, 0) != 0;
}

// Attempts
// ---------------------------------------------------------------------------------------------

Attempt receive_copied(LoopCore& loop, int fd, std::size_t size, PyObject** result) {
  const std::span<char> scratch = loop.scratch();
  if (scratch.empty()) return Attempt::failed;
  const ssize_t got = receive(fd, scratch.first(std::min(size, scratch.size())));
  if (got < 0) return after_error(Attempt::wait_readable);
  loop.note_received(fd, static_cast<std::size_t>(got));
  *result = PyBytes_FromStringAndSize(scratch.data(), got);
  return Attempt::done;
}

Attempt receive_directly(LoopCore& loop, int fd, std::size_t size, PyObject** result) {
  size = std::min(size, LoopCore::kScratch);
  PyRef bytes = PyRef::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
  if (!bytes) return Attempt::failed;
  const ssize_t got = receive(fd, {PyBytes_AS_STRING(bytes.get()), size});
  if (got < 0) return after_error(Attempt::wait_readable);
  loop.note_received(fd, static_cast<std::size_t>(got));
  PyObject* shrunk = bytes.take();
  (void)_PyBytes_Resize(&shrunk, got);
  *result = shrunk;
  return Attempt::done;
}

Attempt try_recv(SocketAwaitable& self, PyObject** result) {
  LoopCore& loop = LoopCore::of(self.loop);
  std::size_t size = 0;
  const int fd = number_of(self);
  if (fd == kUnknown || !size_of(self.argument, size)) return Attempt::failed;
  const bool is_large = size >= kLarge && loop.last_received() >= kLarge;
  return is_large ? receive_directly(loop, fd, size, result)
                  : receive_copied(loop, fd, size, result);
}

/// False: TypeError is set.
bool open_writable(SocketAwaitable& self) {
  if (self.view.obj != nullptr) return true;
  if (PyObject_GetBuffer(self.argument, &self.view, PyBUF_WRITABLE) == 0) return true;
  PyErr_Format(PyExc_TypeError, "a read-write bytes-like object was expected, not %.200s",
               Py_TYPE(self.argument)->tp_name);
  return false;
}

Attempt try_recv_into(SocketAwaitable& self, PyObject** result) {
  const int fd = number_of(self);
  if (fd == kUnknown || !open_writable(self)) return Attempt::failed;
  const ssize_t got =
      receive(fd, {static_cast<char*>(self.view.buf), static_cast<std::size_t>(self.view.len)});
  if (got < 0) return after_error(Attempt::wait_readable);
  *result = PyLong_FromSsize_t(got);
  return Attempt::done;
}

Attempt try_sendall(SocketAwaitable& self, PyObject** result) {
  const int fd = number_of(self);
  if (fd == kUnknown || (self.view.obj == nullptr &&
                         PyObject_GetBuffer(self.argument, &self.view, PyBUF_SIMPLE) != 0)) {
    return Attempt::failed;
  }
  do {
    const ssize_t sent = ::send(fd, static_cast<const char*>(self.view.buf) + self.position,
                                static_cast<std::size_t>(self.view.len - self.position),
                                MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return after_error(Attempt::wait_writable);
    self.position += sent;
  } while (self.position < self.view.len);
  *result = PyRef::borrow(Py_None).take();
  return Attempt::done;
}

/// Calls a method of the socket once that can be read. `args` end with nullptr.
template <class... Args>
Attempt call_when_readable(SocketAwaitable& self, PyObject** result, const char* method,
                           Args... args) {
  const int fd = number_of(self);
  if (fd == kUnknown) return Attempt::failed;
  if (fd >= 0 && !is_readable(fd)) return Attempt::wait_readable;
  const PyRef name = PyRef::steal(PyUnicode_InternFromString(method));
  if (!name) return Attempt::failed;
  *result = PyObject_CallMethodObjArgs(self.socket, name.get(), args..., nullptr);
  return *result != nullptr ? Attempt::done : after_exception(Attempt::wait_readable);
}

Attempt try_recvfrom(SocketAwaitable& self, PyObject** result) {
  return call_when_readable(self, result, "recvfrom", self.argument);
}

Attempt try_recvfrom_into(SocketAwaitable& self, PyObject** result) {
  // The size: as asyncio, which takes the buffer's if there is none.
  if (self.address != nullptr) {
    return call_when_readable(self, result, "recvfrom_into", self.argument, self.address);
  }
  return call_when_readable(self, result, "recvfrom_into", self.argument);
}

Attempt try_sendto(SocketAwaitable& self, PyObject** result) {
  *result = PyObject_CallMethod(self.socket, "sendto", "OO", self.argument, self.address);
  return *result != nullptr ? Attempt::done : after_exception(Attempt::wait_writable);
}

Attempt try_accept(SocketAwaitable& self, PyObject** result) {
  PyObject* accepted = nullptr;
  const Attempt attempt = call_when_readable(self, &accepted, "accept");
  if (attempt != Attempt::done) return attempt;
  PyRef pair = PyRef::steal(accepted);
  const PyRef connection = PyRef::steal(PySequence_GetItem(pair.get(), 0));
  if (!connection ||
      !PyRef::steal(PyObject_CallMethod(connection.get(), "setblocking", "O", Py_False))) {
    return Attempt::failed;
  }
  *result = pair.take();
  return Attempt::done;
}

constexpr SocketOperation kRecv{"sock_recv", try_recv};
constexpr SocketOperation kRecvInto{"sock_recv_into", try_recv_into};
constexpr SocketOperation kRecvfrom{"sock_recvfrom", try_recvfrom};
constexpr SocketOperation kRecvfromInto{"sock_recvfrom_into", try_recvfrom_into};
constexpr SocketOperation kSendall{"sock_sendall", try_sendall};
constexpr SocketOperation kSendto{"sock_sendto", try_sendto};
constexpr SocketOperation kAccept{"sock_accept", try_accept};

struct Given {
  PyObject* socket = nullptr;
  PyObject* argument = nullptr;
  PyObject* address = nullptr;
};

/// The coroutine; nullptr: an exception is set. `argument` and `address` are their names, or
/// nullptr; the last one may be missing if `needed` says so.
PyObject* start(PyObject* self, const SocketOperation& operation, const Arguments& arguments,
                const char* argument, const char* address, Py_ssize_t needed) {
  Given given;
  PyObject* none = nullptr;
  const Py_ssize_t most = 1 + (argument != nullptr ? 1 : 0) + (address != nullptr ? 1 : 0);
  if (!assign(arguments, most,
              {{"sock", &given.socket},
               {argument != nullptr ? argument : "", argument != nullptr ? &given.argument : &none},
               {address != nullptr ? address : "", address != nullptr ? &given.address : &none}})) {
    return nullptr;
  }
  if (given.socket == nullptr || (needed > 1 && given.argument == nullptr) ||
      (needed > 2 && given.address == nullptr)) {
    PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments", operation.name, needed);
    return nullptr;
  }
  SocketAwaitable* const made =
      new_socket_awaitable(LoopCore::of(self), operation, given.socket, given.argument);
  if (made != nullptr) made->address = PyRef::borrow(given.address).take();
  return reinterpret_cast<PyObject*>(made);
}

}  // namespace

PyObject* loop_sock_recv(PyObject* self, PyObject* const* args, Py_ssize_t count,
                         PyObject* keywords) {
  return start(self, kRecv, {"sock_recv", args, count, keywords}, "n", nullptr, 2);
}

PyObject* loop_sock_recv_into(PyObject* self, PyObject* const* args, Py_ssize_t count,
                              PyObject* keywords) {
  return start(self, kRecvInto, {"sock_recv_into", args, count, keywords}, "buf", nullptr, 2);
}

PyObject* loop_sock_recvfrom(PyObject* self, PyObject* const* args, Py_ssize_t count,
                             PyObject* keywords) {
  return start(self, kRecvfrom, {"sock_recvfrom", args, count, keywords}, "bufsize", nullptr, 2);
}

PyObject* loop_sock_recvfrom_into(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                  PyObject* keywords) {
  return start(self, kRecvfromInto, {"sock_recvfrom_into", args, count, keywords}, "buf", "nbytes",
               2);
}

PyObject* loop_sock_sendall(PyObject* self, PyObject* const* args, Py_ssize_t count,
                            PyObject* keywords) {
  return start(self, kSendall, {"sock_sendall", args, count, keywords}, "data", nullptr, 2);
}

PyObject* loop_sock_sendto(PyObject* self, PyObject* const* args, Py_ssize_t count,
                           PyObject* keywords) {
  return start(self, kSendto, {"sock_sendto", args, count, keywords}, "data", "address", 3);
}

PyObject* loop_sock_accept(PyObject* self, PyObject* const* args, Py_ssize_t count,
                           PyObject* keywords) {
  return start(self, kAccept, {"sock_accept", args, count, keywords}, nullptr, nullptr, 1);
}

}  // namespace penstock::python
