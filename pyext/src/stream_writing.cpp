// SPDX-License-Identifier: Apache-2.0
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "exceptions.hpp"
#include "stream_transport.hpp"

/// The writing half of a stream's transport.
namespace penstock::python {

namespace {

constexpr const char* kFatal = "Fatal write error on socket transport";
/// Pieces that one system call takes, at most.
constexpr std::size_t kPieces = 128;

bool is_bytes_like(PyObject* data) noexcept {
  return PyBytes_Check(data) != 0 || PyByteArray_Check(data) != 0 || PyMemoryView_Check(data) != 0;
}

/// The bytes of an object for a scope.
class View {
 public:
  explicit View(PyObject* data) noexcept
      : is_held_(PyObject_GetBuffer(data, &view_, PyBUF_SIMPLE) == 0) {}
  ~View() {
    if (is_held_) PyBuffer_Release(&view_);
  }
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  explicit operator bool() const noexcept { return is_held_; }
  [[nodiscard]] const Py_buffer& get() const noexcept { return view_; }
  [[nodiscard]] std::size_t size() const noexcept { return static_cast<std::size_t>(view_.len); }

 private:
  Py_buffer view_{};
  const bool is_held_;
};

bool would_block() noexcept { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

bool StreamTransport::may_write(const char* method) {
  if (has_written_eof_) {
    PyErr_Format(PyExc_RuntimeError, "Cannot call %s() after write_eof()", method);
  } else if (empty_waiter_) {
    PyErr_Format(PyExc_RuntimeError, "unable to %s; sendfile is in progress", method);
  } else {
    return true;
  }
  return false;
}

bool StreamTransport::push(PyObject* data, const Py_buffer& view, std::size_t offset) {
  if (PyBytes_Check(data) != 0) return queue_.push(PyRef::borrow(data), offset);
  // May change meanwhile.
  PyRef copy = PyRef::steal(PyBytes_FromStringAndSize(static_cast<const char*>(view.buf) + offset,
                                                      view.len - static_cast<Py_ssize_t>(offset)));
  return copy && queue_.push(std::move(copy), 0);
}

bool StreamTransport::write_bytes(PyObject* data) {
  if (!is_bytes_like(data)) {
    PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not '%.200s'",
                 Py_TYPE(data)->tp_name);
    return false;
  }
  if (!may_write("write")) return false;
  const View view(data);
  if (!view) return lost_ == 0 && fail(kFatal);
  if (view.size() == 0) return true;
  if (lost_ != 0) return warn_of_writing();
  std::size_t sent = 0;
  if (queue_.empty()) {
    const ssize_t result =
        has_descriptor() ? send(fd(), view.get().buf, view.size(), MSG_DONTWAIT | MSG_NOSIGNAL)
                         : -1;
    if (result < 0 && !would_block()) return fail_errno(kFatal);
    if (result > 0) sent = static_cast<std::size_t>(result);
    if (sent == view.size()) return true;
  }
  return push(data, view.get(), sent) && after_queuing();
}

bool StreamTransport::after_queuing() {
  return want(io_uring::writable) && (lost_ != 0 || maybe_pause_protocol());
}

bool StreamTransport::queue_all(PyObject* pieces) {
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(pieces); ++i) {
    PyObject* const piece = PySequence_Fast_GET_ITEM(pieces, i);
    const View view(piece);
    if (!view || (view.size() != 0 && !push(piece, view.get(), 0))) return false;
  }
  return true;
}

bool StreamTransport::write_lines(PyObject* lines) {
  if (!may_write("writelines")) return false;
  const PyRef pieces = PyRef::steal(PySequence_Fast(lines, "writelines() takes an iterable"));
  if (!pieces) return false;
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(pieces.get());
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* const piece = PySequence_Fast_GET_ITEM(pieces.get(), i);
    if (is_bytes_like(piece)) continue;
    PyErr_Format(PyExc_TypeError, "sequence item %zd: expected a bytes-like object, %.200s found",
                 i, Py_TYPE(piece)->tp_name);
    return false;
  }
  if (count == 0) return true;
  if (lost_ != 0) return warn_of_writing();
  const bool was_empty = queue_.empty();
  if (!queue_all(pieces.get())) return false;
  if (was_empty && !send_queued() && !would_block()) return fail_errno(kFatal);
  return queue_.empty() || after_queuing();
}

bool StreamTransport::send_queued() {
  std::array<iovec, kPieces> vectors;
  while (!queue_.empty()) {
    if (!has_descriptor()) return false;
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = queue_.peek(vectors.data(), vectors.size());
    std::size_t offered = 0;
    for (std::size_t i = 0; i < message.msg_iovlen; ++i) offered += vectors[i].iov_len;
    const ssize_t sent = sendmsg(fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return false;
    queue_.consume(static_cast<std::size_t>(sent));
    if (static_cast<std::size_t>(sent) < offered) {
      errno = EAGAIN;
      return false;
    }
  }
  return true;
}

bool StreamTransport::write() {
  if (!send_queued() && !would_block()) {
    queue_.clear();
    PyErr_SetFromErrno(PyExc_OSError);
    const PyRef exception = take_exception();
    return fatal_error(exception.get(), kFatal) && settle_empty_waiter(exception.get());
  }
  return maybe_resume_protocol() && (lost_ != 0 || !queue_.empty() || queue_is_empty());
}

bool StreamTransport::queue_is_empty() {
  bool is_closing = false;
  if (!settle_empty_waiter(nullptr) || !finish_if_closing(&is_closing)) return false;
  if (is_closing) return true;
  if (has_written_eof_ && !shut_down()) return fail(kFatal);
  relax();
  return true;
}

bool StreamTransport::shut_down() {
  if (has_descriptor() && shutdown(fd(), SHUT_WR) == 0) return true;
  PyErr_SetFromErrno(PyExc_OSError);
  return false;
}

bool StreamTransport::write_eof() {
  if (is_closing() || has_written_eof_) return true;
  has_written_eof_ = true;
  return !queue_.empty() || shut_down();
}

// Who sends a file waits until all is sent that was written before.

PyRef StreamTransport::make_empty_waiter() {
  if (empty_waiter_) {
    PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
    return {};
  }
  if (loop() == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "the transport is closed");
    return {};
  }
  empty_waiter_ = core().new_future();
  if (empty_waiter_ && queue_.empty() && !settle_empty_waiter(nullptr)) return {};
  return PyRef::borrow(empty_waiter_.get());
}

void StreamTransport::reset_empty_waiter() { empty_waiter_ = {}; }

bool StreamTransport::settle_empty_waiter(PyObject* exception) {
  if (!empty_waiter_) return true;
  const ModuleState::Names& names = state().names;
  const PyRef waiter = PyRef::borrow(empty_waiter_.get());
  const PyRef done = PyRef::steal(PyObject_CallMethodNoArgs(waiter.get(), names.done));
  const int is_done = done ? PyObject_IsTrue(done.get()) : -1;
  if (is_done != 0) return is_done > 0;
  return static_cast<bool>(
      PyRef::steal(exception == nullptr
                       ? PyObject_CallMethodOneArg(waiter.get(), names.set_result, Py_None)
                       : PyObject_CallMethodOneArg(waiter.get(), names.set_exception, exception)));
}

bool StreamTransport::connection_lost() {
  if (!empty_waiter_) return true;
  const PyRef error = PyRef::steal(
      PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer"));
  return error && settle_empty_waiter(error.get());
}

void StreamTransport::clear() {
  Transport::clear();
  take_data_ = {};
  take_update_ = {};
  empty_waiter_ = {};
  queue_.clear();
}

int StreamTransport::traverse(visitproc visit, void* arg) const {
  Py_VISIT(take_data_.get());
  Py_VISIT(take_update_.get());
  Py_VISIT(empty_waiter_.get());
  return Transport::traverse(visit, arg);
}

}  // namespace penstock::python
