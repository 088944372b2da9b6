// SPDX-License-Identifier: Apache-2.0
#include "transport.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "entered_context.hpp"
#include "exceptions.hpp"

namespace penstock::python {

using io_uring::Interest;

namespace {

PyObject* or_none(PyObject* object) noexcept { return object == nullptr ? Py_None : object; }

/// What ends the run of a loop wherever it is raised.
bool is_exit() {
  return PyErr_ExceptionMatches(PyExc_SystemExit) != 0 ||
         PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) != 0;
}

void raise_again(PyObject* exception) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception)), exception);
}

/// An address of the socket, or None if it has none. False: another exception is set.
bool add_address(PyObject* extra, const char* key, PyObject* socket, PyObject* method) {
  PyRef address = PyRef::steal(PyObject_CallMethodNoArgs(socket, method));
  if (!address) {
    if (PyErr_ExceptionMatches(PyExc_OSError) == 0) return false;
    PyErr_Clear();
    address = PyRef::borrow(Py_None);
  }
  return PyDict_SetItemString(extra, key, address.get()) == 0;
}

/// After a future was set or cancelled, nothing is to be done with it.
bool set_unless_cancelled(const ModuleState::Names& names, PyObject* waiter) {
  const PyRef cancelled = PyRef::steal(PyObject_CallMethodNoArgs(waiter, names.is_cancelled));
  const int is_cancelled = cancelled ? PyObject_IsTrue(cancelled.get()) : -1;
  if (is_cancelled != 0) return is_cancelled > 0;
  return static_cast<bool>(
      PyRef::steal(PyObject_CallMethodOneArg(waiter, names.set_result, Py_None)));
}

}  // namespace

// Birth
// ---------------------------------------------------------------------------------------------

Transport::Transport(LoopCore& core, TransportObject& object) noexcept
    : state_(core.state()), object_(object), core_(&core) {}

bool Transport::set_socket(PyObject* socket) {
  fd_ = core_->descriptor_of(socket);
  if (fd_ < 0) return false;
  socket_ = PyRef::borrow(socket);
  // CPython's socket objects begin with their descriptor.
  auto* const base = reinterpret_cast<PyTypeObject*>(state_.loops.socket_class)->tp_base;
  if (PyObject_TypeCheck(socket, base) == 0) return true;
  const auto* const place =
      reinterpret_cast<const int*>(reinterpret_cast<const char*>(socket) + sizeof(PyObject));
  if (*place == fd_) fd_place_ = place;
  return true;
}

bool Transport::has_descriptor() const noexcept {
  if (*fd_place_ == fd_ && fd_ >= 0) return true;
  errno = EBADF;
  return false;
}

bool Transport::find_addresses(PyObject* extra) {
  const PyRef shown =
      PyRef::steal(PyObject_CallOneArg(state_.loops.transport_socket, socket_.get()));
  if (!shown || PyDict_SetItemString(extra, "socket", shown.get()) != 0 ||
      !add_address(extra, "sockname", socket_.get(), state_.names.getsockname)) {
    return false;
  }
  const PyRef key = PyRef::steal(PyUnicode_FromString("peername"));
  const int known = key ? PyDict_Contains(extra, key.get()) : -1;
  if (known != 0) return known > 0;
  return add_address(extra, "peername", socket_.get(), state_.names.getpeername);
}

bool Transport::change_server(const char* method) {
#if PY_VERSION_HEX >= 0x030D0000
  return static_cast<bool>(PyRef::steal(PyObject_CallMethod(server_.get(), method, "O", object())));
#else
  return static_cast<bool>(PyRef::steal(PyObject_CallMethod(server_.get(), method, nullptr)));
#endif
}

bool Transport::open(const Parts& parts) {
  loop_ = PyRef::borrow(parts.loop);
  context_ = PyRef::steal(PyContext_CopyCurrent());
  PyRef extra = parts.extra == nullptr ? PyRef::steal(PyDict_New()) : PyRef::borrow(parts.extra);
  if (!context_ || !extra) return false;
  if (PyDict_Check(extra.get()) == 0) {
    PyErr_SetString(PyExc_TypeError, "extra is not a dict");
    return false;
  }
  object_.extra = PyRef::borrow(extra.get()).take();
  if (!set_socket(parts.socket) || !find_addresses(extra.get()) || !set_protocol(parts.protocol)) {
    socket_ = {};  // Still the caller's to close.
    return false;
  }
  if (parts.server != nullptr) {
    server_ = PyRef::borrow(parts.server);
    if (!change_server("_attach")) return false;
  }
  const PyRef transports = PyRef::steal(PyObject_GetAttr(loop_.get(), state_.names.transports));
  const PyRef number = PyRef::steal(PyLong_FromLong(fd_));
  return transports && number && PyObject_SetItem(transports.get(), number.get(), object()) == 0 &&
         call_soon(state_.names.start_transport, or_none(parts.waiter));
}

bool Transport::start(PyObject* waiter) {
  const PyRef made = protocol_ ? PyRef::steal(PyObject_CallMethodOneArg(
                                     protocol_.get(), state_.names.connection_made, object()))
                               : PyRef::borrow(Py_None);
  if (!made && is_exit()) return false;
  // Whatever it raised is told, but it goes on, as with asyncio.
  const PyRef exception = made ? PyRef() : take_exception();
  if (core_ != nullptr && wants_data() && !want(io_uring::readable)) return false;
  if (waiter != Py_None && !set_unless_cancelled(state_.names, waiter)) return false;
  if (exception) raise_again(exception.get());
  return static_cast<bool>(made);
}

bool Transport::set_protocol(PyObject* protocol) {
  protocol_ = PyRef::borrow(protocol);
  return true;
}

// Events
// ---------------------------------------------------------------------------------------------

bool Transport::ready(Interest what) {
  if (!core_->is_debug()) return serve(what);
  // By a handle, whose time is taken.
  const PyRef number = PyRef::steal(PyLong_FromLong(what));
  return number && call_soon(state_.names.serve_transport, number.get());
}

bool Transport::serve(Interest what) {
  if (lost_ != 0) return true;
  if ((what & io_uring::hung_up) != 0) is_hung_up_ = true;
  if ((what & io_uring::readable) != 0) {
    may_read_ = true;
    if (wants_data()) {
      if (!read()) return false;
    } else {
      relax();
    }
  }
  if ((what & io_uring::writable) == 0 || lost_ != 0) return true;
  if (queued() != 0) return write();
  // A unix socket has room anew with each message that its peer takes.
  if (what != io_uring::writable || !is_watched()) return true;
  if (!wants_data()) {
    unwatch();
    return true;
  }
  watched_ = 0;
  return want(io_uring::readable);
}

bool Transport::want(Interest interest) {
  const Interest have = watched();
  if ((have & interest) == interest && interest != 0) return true;
  const auto all = static_cast<Interest>(have | interest);
  const PyRef alive = PyRef::borrow(object());
  int error = EBADF;
  if (has_descriptor()) error = core_->watch(fd_, all, io_uring::Trigger::edge, *this);
  watched_ = error == 0 ? all : Interest{0};
  if (error == 0) return true;
  errno = error;
  return fail_errno("Fatal error: the socket cannot be watched");
}

void Transport::unwatch() noexcept {
  if (is_watched()) core_->forget(fd_);
  watched_ = 0;
}

void Transport::relax() {
  if (!wants_data() && queued() == 0) unwatch();
}

bool Transport::pause_reading() {
  // What is reported from now on is kept for later; only then the descriptor is forgotten.
  if (!is_reading()) return true;
  is_paused_ = true;
  return log_in_debug_mode("%r pauses reading");
}

bool Transport::resume_reading() {
  if (is_closing_ || !is_paused_) return true;
  is_paused_ = false;
  if (wants_data()) {
    const bool reports = (watched() & io_uring::readable) != 0;
    if (reports ? may_read_ && !core_->report_again(*this, io_uring::readable)
                : !want(io_uring::readable)) {
      return false;
    }
  }
  return log_in_debug_mode("%r resumes reading");
}

// The protocol
// ---------------------------------------------------------------------------------------------

PyRef Transport::call(PyObject* function, PyObject* argument) const {
  const PyRef alive = PyRef::borrow(function);  // The protocol may be replaced.
  const EnteredContext entered(context_.get());
  PyObject* const stack[] = {nullptr, argument};
  std::size_t const count = argument == nullptr ? 0 : 1;
  return PyRef::steal(
      PyObject_Vectorcall(function, stack + 1, count | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
}

bool Transport::call_soon(PyObject* name, PyObject* argument) {
  const PyRef method = PyRef::steal(PyObject_GetAttr(object(), name));
  return method && core_->check_open() &&
         core_->call_soon(method.get(), {argument}, context_.get());
}

bool Transport::set_limits(Py_ssize_t high, Py_ssize_t low) {
  if (!(high >= low && low >= 0)) {
    PyErr_Format(PyExc_ValueError, "high (%zd) must be >= low (%zd) must be >= 0", high, low);
    return false;
  }
  high_ = high;
  low_ = low;
  return true;
}

bool Transport::maybe_pause_protocol() {
  if (is_protocol_paused_ || queued() <= static_cast<std::size_t>(high_)) return true;
  is_protocol_paused_ = true;
  const PyRef done =
      PyRef::steal(PyObject_CallMethodNoArgs(or_none(protocol_.get()), state_.names.pause_writing));
  return done || report("protocol.pause_writing() failed");
}

bool Transport::maybe_resume_protocol() {
  if (!is_protocol_paused_ || queued() > static_cast<std::size_t>(low_)) return true;
  is_protocol_paused_ = false;
  const PyRef done = PyRef::steal(
      PyObject_CallMethodNoArgs(or_none(protocol_.get()), state_.names.resume_writing));
  return done || report("protocol.resume_writing() failed");
}

// Errors
// ---------------------------------------------------------------------------------------------

bool Transport::fatal_error(PyObject* exception, const char* message) {
  const bool is_os_error =
      PyObject_TypeCheck(exception, reinterpret_cast<PyTypeObject*>(PyExc_OSError)) != 0;
  // Connections break every day.
  if (core_ != nullptr && (!is_os_error || core_->is_debug())) {
    const PyRef done =
        PyRef::steal(PyObject_CallMethod(loop_.get(), "_transport_failed", "OOOs", object(),
                                         or_none(protocol_.get()), exception, message));
    if (!done) return false;
  }
  return force_close(exception);
}

bool Transport::fail(const char* message) {
  if (is_exit()) return false;
  const PyRef exception = take_exception();
  return fatal_error(exception.get(), message);
}

bool Transport::fail_errno(const char* message) {
  PyErr_SetFromErrno(PyExc_OSError);
  return fail(message);
}

bool Transport::report(const char* message) {
  if (is_exit()) return false;
  const PyRef exception = take_exception();
  return static_cast<bool>(
      PyRef::steal(PyObject_CallMethod(loop_.get(), "_protocol_failed", "OOOs", object(),
                                       or_none(protocol_.get()), exception.get(), message)));
}

bool Transport::log_in_debug_mode(const char* format) {
  if (core_ == nullptr || !core_->is_debug()) return true;
  return static_cast<bool>(
      PyRef::steal(PyObject_CallMethod(state_.loops.logger, "debug", "sO", format, object())));
}

bool Transport::warn_of_writing() {
  constexpr unsigned kPatience = 5;  // asyncio.constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES
  if (lost_++ < kPatience) return true;
  return static_cast<bool>(PyRef::steal(
      PyObject_CallMethod(state_.loops.logger, "warning", "s", "socket.send() raised exception.")));
}

// Death
// ---------------------------------------------------------------------------------------------

bool Transport::close() {
  if (is_closing_) return true;
  is_closing_ = true;
  if (queued() != 0) return true;
  ++lost_;
  const PyRef alive = PyRef::borrow(object());
  unwatch();
  return call_soon(state_.names.call_connection_lost, Py_None);
}

bool Transport::force_close(PyObject* exception) {
  if (lost_ != 0) return true;
  const PyRef alive = PyRef::borrow(object());
  drop_queue();
  is_closing_ = true;
  ++lost_;
  unwatch();
  return call_soon(state_.names.call_connection_lost, or_none(exception));
}

bool Transport::finish_if_closing(bool* is_closing) {
  *is_closing = is_closing_;
  if (!is_closing_) return true;
  ++lost_;
  unwatch();
  return call_soon(state_.names.call_connection_lost, Py_None);
}

bool Transport::lose_connection(PyObject* exception) {
  if (core_ == nullptr) return true;
  const PyRef alive = PyRef::borrow(object());
  const PyRef told = PyRef::steal(PyObject_CallMethodOneArg(
      or_none(protocol_.get()), state_.names.connection_lost, or_none(exception)));
  const PyRef raised = told ? PyRef() : take_exception();
  const bool done = end();
  if (done && raised) raise_again(raised.get());
  return done && told;
}

bool Transport::end() {
  is_closing_ = true;
  // Whoever watches it: the number is given away.
  if (has_descriptor()) {
    core_->forget(fd_);
  } else {
    unwatch();
  }
  watched_ = 0;
  core_ = nullptr;
  const PyRef socket = give_up_socket();
  const bool closed =
      !socket ||
      static_cast<bool>(PyRef::steal(PyObject_CallMethodNoArgs(socket.get(), state_.names.close)));
  const PyRef protocol = std::exchange(protocol_, {});
  const PyRef loop = std::exchange(loop_, {});
  const bool detached = !server_ || change_server("_detach");
  server_ = {};
  return closed && detached && connection_lost();
}

/// The number may be somebody else's from now on, and what was collected may still be used.
PyRef Transport::give_up_socket() noexcept {
  if (lost_ == 0) ++lost_;
  fd_ = -1;
  fd_place_ = &fd_;
  return std::exchange(socket_, {});
}

void Transport::finalize() {
  if (!socket_) return;
  const PyRef raised = take_exception();
  if (PyErr_ResourceWarning(object(), 1, "unclosed transport %R", object()) != 0) {
    PyErr_WriteUnraisable(object());
  }
  unwatch();
  const PyRef socket = give_up_socket();
  if (!PyRef::steal(PyObject_CallMethodNoArgs(socket.get(), state_.names.close))) {
    PyErr_WriteUnraisable(object());
  }
#if PY_VERSION_HEX >= 0x030D0000
  if (server_ && !change_server("_detach")) PyErr_WriteUnraisable(object());
#endif
  if (raised) raise_again(raised.get());
}

int Transport::traverse(visitproc visit, void* arg) const {
  Py_VISIT(loop_.get());
  Py_VISIT(protocol_.get());
  Py_VISIT(context_.get());
  Py_VISIT(socket_.get());
  Py_VISIT(server_.get());
  return 0;
}

void Transport::clear() {
  core_ = nullptr;
  const PyRef protocol = std::exchange(protocol_, {});
  const PyRef socket = give_up_socket();
  const PyRef server = std::exchange(server_, {});
  const PyRef loop = std::exchange(loop_, {});
}

}  // namespace penstock::python
