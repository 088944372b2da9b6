// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "stream_read.hpp"
#include "stream_reader.hpp"
#include "stream_transport.hpp"

/// The reading half of a stream's transport.
namespace penstock::python {

namespace {

/// Reads of one connection in one iteration: the others shall have their turn.
constexpr int kReadsInTurn = 4;

/// A read that brings much is followed by one into a bytes object of its own, which spares a copy.
/// Less than what malloc() would map, and unmap again, each time.
constexpr std::size_t kLargeObject = std::size_t{120} * 1024;

}  // namespace

bool StreamTransport::open_stream(const Parts& parts) {
  if (!open(parts)) return false;
  // As asyncio: small writes are sent without waiting for the peer's acknowledgement.
  const int on = 1;
  is_tcp_ = setsockopt(fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0;
  return true;
}

bool StreamTransport::set_protocol(PyObject* protocol) {
  const ModuleState::Names& names = state().names;
  const int is_buffered = PyObject_IsInstance(protocol, state().loops.buffered_protocol);
  if (is_buffered < 0) return false;
  PyRef take_data;
  PyRef take_update;
  Style style = Style::bytes;
  if (is_buffered != 0) {
    style = Style::buffer;
    take_data = PyRef::steal(PyObject_GetAttr(protocol, names.get_buffer));
    take_update = PyRef::steal(PyObject_GetAttr(protocol, names.buffer_updated));
    if (!take_data || !take_update) return false;
  } else {
    // Not every protocol that something is only sent through has it.
    take_data = PyRef::steal(PyObject_GetAttr(protocol, names.data_received));
    if (!take_data) {
      if (PyErr_ExceptionMatches(PyExc_AttributeError) == 0) return false;
      PyErr_Clear();
    }
    if (is_plain_stream_protocol(state().loops, protocol)) {
      style = Style::reader;
      speed_up_reader(protocol);
    }
  }
  style_ = style;
  take_data_ = std::move(take_data);
  take_update_ = std::move(take_update);
  return Transport::set_protocol(protocol);
}

/// Without it the reader is asyncio's own, which is as good.
void StreamTransport::speed_up_reader(PyObject* protocol) {
  const PyRef reader = reader_of(state(), protocol);
  if (!reader || !give_fast_read(state().loops, reader.get(), core().object())) PyErr_Clear();
}

bool StreamTransport::read() {
  for (int turn = 0; wants_data(); ++turn) {
    // The end comes in an iteration of its own, as with asyncio: who waits for the connection, or
    // for the last data, shall see it before it is lost.
    if (turn == kReadsInTurn || (turn == 1 && is_hung_up_)) {
      return core().report_again(*this, io_uring::readable);
    }
    Read result = Read::failed;
    switch (style_) {
      case Style::bytes:
        result = read_bytes();
        break;
      case Style::buffer:
        result = read_into_buffer();
        break;
      case Style::reader:
        result = read_into_reader();
        break;
    }
    if (result != Read::more) return result == Read::all;
  }
  return true;
}

/// A read may end before what is there does: that of a unix socket behind descriptors that were
/// passed along, and TCP's at urgent data, whatever follows. The kernel would tell that with each
/// read (TCP_INQ), which takes a tenth longer; the loop asks later on.
ssize_t StreamTransport::receive(char* data, std::size_t size) {
  if (!has_descriptor()) return -1;
  if (is_tcp_) return recv(fd(), data, size, MSG_DONTWAIT);
  iovec vector{data, size};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  const ssize_t result = recvmsg(fd(), &message, MSG_DONTWAIT);
  is_cut_ = result > 0 && (message.msg_flags & MSG_CTRUNC) != 0;
  return result;
}

/// Without what is urgent: a single byte of that is nothing to be read.
bool StreamTransport::has_more() {
  pollfd asked{fd(), POLLIN, 0};
  return has_descriptor() && poll(&asked, 1, 0) > 0 && (asked.revents & POLLIN) != 0;
}

StreamTransport::Read StreamTransport::receive_ended(ssize_t result) {
  if (result == 0) return read_end();
  if (errno == EINTR) return Read::more;
  if (errno == EAGAIN || errno == EWOULDBLOCK) {
    may_read_ = false;
    return Read::all;
  }
  return fail_errno("Fatal read error on socket transport") ? Read::all : Read::failed;
}

/// Before the protocol is told, which may pause and resume.
StreamTransport::Read StreamTransport::received(ssize_t size, std::size_t room) {
  const auto count = static_cast<std::size_t>(size);
  const bool is_much = count >= LoopCore::kMuch;
  if (is_much) core().note_much(fd());
  if (style_ != Style::buffer) expects_much_ = is_much;
  if (count == room || is_hung_up_ || is_cut_) return Read::more;
  may_read_ = false;
  if (is_tcp_) core().doubt(fd(), *this);
  return Read::all;
}

PyRef StreamTransport::receive_large(ssize_t* size) {
  PyObject* bytes = PyBytes_FromStringAndSize(nullptr, kLargeObject);
  if (bytes == nullptr) return {};
  *size = receive(PyBytes_AS_STRING(bytes), kLargeObject);
  const int error = errno;
  PyRef result;
  if (*size > 0 && static_cast<std::size_t>(*size) < kLargeObject) {
    if (_PyBytes_Resize(&bytes, *size) != 0) return {};
  }
  result = PyRef::steal(bytes);
  errno = error;
  return result;
}

StreamTransport::Read StreamTransport::read_bytes() {
  ssize_t size = -1;
  std::size_t room = kLargeObject;
  PyRef bytes;
  if (expects_much_) {
    bytes = receive_large(&size);
    if (!bytes) return Read::failed;
    if (size <= 0) return receive_ended(size);
  } else {
    const std::span<char> scratch = core().scratch();
    if (scratch.empty()) return Read::failed;
    room = scratch.size();
    size = receive(scratch.data(), room);
    if (size <= 0) return receive_ended(size);
    bytes = PyRef::steal(PyBytes_FromStringAndSize(scratch.data(), size));
    if (!bytes) return Read::failed;
  }
  const Read result = received(size, room);
  const PyRef function = PyRef::borrow(take_data_.get());
  if (function && call(function.get(), bytes.get())) return result;
  if (!function) PyErr_SetString(PyExc_AttributeError, "the protocol has no data_received()");
  return fail("Fatal error: protocol.data_received() call failed.") ? result : Read::failed;
}

StreamTransport::Read StreamTransport::read_into_buffer() {
  const PyRef function = PyRef::borrow(take_update_.get());
  const PyRef any_size = PyRef::steal(PyLong_FromLong(-1));
  PyRef buffer = any_size ? call(take_data_.get(), any_size.get()) : PyRef();
  const Py_ssize_t length = buffer ? PyObject_Length(buffer.get()) : -1;
  if (length == 0) {
    PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
  }
  if (length <= 0) {
    return fail("Fatal error: protocol.get_buffer() call failed.") ? Read::all : Read::failed;
  }
  Py_buffer view;
  if (PyObject_GetBuffer(buffer.get(), &view, PyBUF_WRITABLE) != 0) {
    return fail("Fatal read error on socket transport") ? Read::all : Read::failed;
  }
  // get_buffer() may have closed or paused it.
  const auto room = static_cast<std::size_t>(view.len);
  const bool may_receive = lost_ == 0;
  const ssize_t size = may_receive ? receive(static_cast<char*>(view.buf), room) : -1;
  const int error = errno;
  PyBuffer_Release(&view);
  buffer = {};
  if (!may_receive) return Read::all;
  errno = error;
  if (size <= 0) return receive_ended(size);
  const Read result = received(size, room);
  const PyRef count = PyRef::steal(PyLong_FromSsize_t(size));
  if (count && call(function.get(), count.get())) return result;
  return fail("Fatal error: protocol.buffer_updated() call failed.") ? result : Read::failed;
}

StreamTransport::Read StreamTransport::read_into_reader() {
  StreamReaderFeed reader(state(), protocol(), object());
  if (!reader) {
    PyErr_Clear();
    return read_bytes();
  }
  std::size_t room = kLargeObject;
  ssize_t size = -1;
  // Room behind what is there may have to be made by copying that, and there may be nothing new.
  if (expects_much_ && reader.is_empty()) {
    char* const place = reader.reserve(room);
    if (place == nullptr) {
      return fail("Fatal error: protocol.data_received() call failed.") ? Read::all : Read::failed;
    }
    size = receive(place, room);
    const int error = errno;
    if (!reader.commit(size > 0 ? static_cast<std::size_t>(size) : 0)) return Read::failed;
    errno = error;
    if (size <= 0) return receive_ended(size);
  } else {
    const std::span<char> scratch = core().scratch();
    if (scratch.empty()) return Read::failed;
    room = scratch.size();
    size = receive(scratch.data(), room);
    if (size <= 0) return receive_ended(size);
    if (!reader.append(scratch.first(static_cast<std::size_t>(size)))) {
      return fail("Fatal error: protocol.data_received() call failed.") ? Read::all : Read::failed;
    }
  }
  const Read result = received(size, room);
  bool is_full = false;
  if (!reader.wake(&is_full) || (is_full && (!pause_reading() || !reader.set_paused()))) {
    return fail("Fatal error: protocol.data_received() call failed.") ? result : Read::failed;
  }
  return result;
}

StreamTransport::Read StreamTransport::read_end() {
  is_at_end_ = true;
  may_read_ = false;
  if (!log_in_debug_mode("%r received EOF")) return Read::failed;
  const PyRef function = PyRef::steal(PyObject_GetAttr(protocol(), state().names.eof_received));
  const PyRef answer = function ? call(function.get(), nullptr) : PyRef();
  const int keeps_open = answer ? PyObject_IsTrue(answer.get()) : -1;
  if (keeps_open < 0) {
    return fail("Fatal error: protocol.eof_received() call failed.") ? Read::all : Read::failed;
  }
  if (keeps_open == 0) return close() ? Read::all : Read::failed;
  if (lost_ == 0) relax();
  return Read::all;
}

}  // namespace penstock::python
