// SPDX-License-Identifier: Apache-2.0
#include "datagram_transport.hpp"

#include <cerrno>
#include <utility>

#include "entered_context.hpp"
#include "exceptions.hpp"
#include "socket_address.hpp"

namespace penstock::python {

namespace {

constexpr const char* kFatal = "Fatal write error on datagram transport";
/// Datagrams of one socket in one iteration: the others shall have their turn.
constexpr int kReadsInTurn = 16;
/// What asyncio counts for each datagram that is queued, beside its bytes.
constexpr std::size_t kHeader = PY_VERSION_HEX >= 0x030D0000 ? 8 : 0;

bool is_os_error() { return PyErr_ExceptionMatches(PyExc_OSError) != 0; }

bool would_block() {
  return PyErr_ExceptionMatches(PyExc_BlockingIOError) != 0 ||
         PyErr_ExceptionMatches(PyExc_InterruptedError) != 0;
}

}  // namespace

bool DatagramTransport::open_endpoint(const Parts& parts, PyObject* address) {
  address_ = PyRef::borrow(address);
  if (!open(parts)) return false;
  PyObject* const peer = PyDict_GetItemString(extra(), "peername");
  is_connected_ = peer != nullptr && peer != Py_None && PyObject_IsTrue(peer) == 1;
  return true;
}

// Reading
// ---------------------------------------------------------------------------------------------

bool DatagramTransport::deliver(const char* data, std::size_t size, PyObject* address) {
  const PyRef bytes = PyRef::steal(PyBytes_FromStringAndSize(data, static_cast<Py_ssize_t>(size)));
  if (!bytes) return false;
  PyRef done;
  {
    const EnteredContext entered(context());
    PyObject* const stack[] = {protocol(), bytes.get(), address};
    done = PyRef::steal(PyObject_VectorcallMethod(state().names.datagram_received, stack,
                                                  3 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
  }
  return done || report("Exception in callback datagram_received()");
}

bool DatagramTransport::tell_errno() {
  PyErr_SetFromErrno(PyExc_OSError);
  const PyRef error = take_exception();
  PyRef done;
  {
    const EnteredContext entered(context());
    done = PyRef::steal(
        PyObject_CallMethodOneArg(protocol(), state().names.error_received, error.get()));
  }
  return done || report("Exception in callback error_received()");
}

bool DatagramTransport::read() {
  for (int turn = 0; wants_data(); ++turn) {
    if (turn == kReadsInTurn) return core().report_again(*this, io_uring::readable);
    const std::span<char> scratch = core().scratch();
    if (scratch.empty()) return false;
    sockaddr_storage sender{};
    socklen_t length = sizeof sender;
    const ssize_t size = has_descriptor()
                             ? recvfrom(fd(), scratch.data(), scratch.size(), MSG_DONTWAIT,
                                        reinterpret_cast<sockaddr*>(&sender), &length)
                             : -1;
    if (size >= 0) {
      const PyRef address = address_from(sender, length);
      if (!address) return fail("Fatal read error on datagram transport");
      if (!deliver(scratch.data(), static_cast<std::size_t>(size), address.get())) return false;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      may_read_ = false;
      return true;
    } else if (errno == EBADF) {
      return fail_errno("Fatal read error on datagram transport");
    } else if (errno != EINTR && !tell_errno()) {
      return false;
    }
  }
  return true;
}

// Writing
// ---------------------------------------------------------------------------------------------

bool DatagramTransport::send_to(PyObject* data, PyObject* address) {
  if (PyBytes_Check(data) == 0 && PyByteArray_Check(data) == 0 && PyMemoryView_Check(data) == 0) {
    PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not '%.200s'",
                 Py_TYPE(data)->tp_name);
    return false;
  }
  if (address_) {
    const int differs =
        address == Py_None ? 0 : PyObject_RichCompareBool(address, address_.get(), Py_NE);
    if (differs > 0) {
      PyErr_Format(PyExc_ValueError, "Invalid address: must be None or %S", address_.get());
    }
    if (differs != 0) return false;
    address = address_.get();
  }
  if (lost_ != 0) return warn_of_writing();
  if (queue_.empty()) {
    const Sent sent = send(data, address);
    if (sent != Sent::later) return sent == Sent::done || PyErr_Occurred() == nullptr;
  }
  PyRef bytes = PyRef::steal(PyBytes_FromObject(data));
  if (!bytes) return false;
  size_ += static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get())) + kHeader;
  queue_.push_back({std::move(bytes), PyRef::borrow(address)});
  return want(io_uring::writable) && (lost_ != 0 || maybe_pause_protocol());
}

DatagramTransport::Sent DatagramTransport::send_connected(PyObject* data) {
  Py_buffer view;
  if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) != 0) return not_sent();
  const ssize_t result = has_descriptor() ? ::send(fd(), view.buf, static_cast<size_t>(view.len),
                                                   MSG_DONTWAIT | MSG_NOSIGNAL)
                                          : -1;
  const int error = errno;
  PyBuffer_Release(&view);
  if (result >= 0) return Sent::done;
  errno = error;
  PyErr_SetFromErrno(PyExc_OSError);
  return not_sent();
}

DatagramTransport::Sent DatagramTransport::send(PyObject* data, PyObject* address) {
  if (is_connected_) return send_connected(data);
  const PyRef sent = PyRef::steal(
      PyObject_CallMethod(socket(), "sendto", "OO", data, address));  // Knows all addresses.
  return sent ? Sent::done : not_sent();
}

DatagramTransport::Sent DatagramTransport::not_sent() {
  if (would_block()) {
    PyErr_Clear();
    return Sent::later;
  }
  if (!is_os_error()) {
    (void)fail(kFatal);
    return Sent::failed;
  }
  const PyRef error = take_exception();
  const PyRef told = PyRef::steal(
      PyObject_CallMethodOneArg(protocol(), state().names.error_received, error.get()));
  return told ? Sent::done : Sent::failed;
}

bool DatagramTransport::write() {
  while (!queue_.empty() && lost_ == 0) {
    Datagram next = std::move(queue_.front());
    queue_.pop_front();
    std::size_t const size = static_cast<std::size_t>(PyBytes_GET_SIZE(next.bytes.get())) + kHeader;
    size_ -= size;
    const Sent sent = send(next.bytes.get(), next.address.get());
    if (sent == Sent::later && lost_ == 0) {
      size_ += size;
      queue_.push_front(std::move(next));
      break;
    }
    if (sent == Sent::failed && PyErr_Occurred() != nullptr &&
        !report("Exception in callback error_received()")) {
      return false;
    }
  }
  if (lost_ != 0 || !maybe_resume_protocol() || !queue_.empty()) return PyErr_Occurred() == nullptr;
  bool is_closing = false;
  if (!finish_if_closing(&is_closing)) return false;
  if (!is_closing) relax();
  return true;
}

void DatagramTransport::drop_queue() {
  const std::deque<Datagram> old = std::exchange(queue_, {});
  size_ = 0;
}

void DatagramTransport::clear() {
  Transport::clear();
  drop_queue();
  address_ = {};
}

int DatagramTransport::traverse(visitproc visit, void* arg) const {
  for (const Datagram& each : queue_) {
    Py_VISIT(each.address.get());
  }
  Py_VISIT(address_.get());
  return Transport::traverse(visit, arg);
}

}  // namespace penstock::python
