// SPDX-License-Identifier: Apache-2.0
#include "socket_awaitable.hpp"

#include <cerrno>
#include <utility>

#include "awaitable_line.hpp"
#include "coroutine.hpp"
#include "loop_core.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

SocketAwaitable& as_awaitable(PyObject* object) noexcept {
  return *reinterpret_cast<SocketAwaitable*>(object);
}

// Waiting
// ---------------------------------------------------------------------------------------------

void leave_line(SocketAwaitable& self) {
  if (self.watch != nullptr) self.watch->leave(self);
  drop(std::exchange(self.future, nullptr));
}

/// False: an exception is set.
bool wait_for(SocketAwaitable& self, io_uring::Interest wanted) {
  LoopCore& loop = LoopCore::of(self.loop);
  const int fd = loop.descriptor_of(self.socket);
  if (fd < 0 || !loop.check_no_transport(self.socket, fd)) return false;
  PyRef future = loop.new_future();
  if (!future || PyObject_SetAttr(future.get(), loop.state().names.future_blocking, Py_True) != 0) {
    return false;
  }
  FdWatch* const watch = loop.fd_watch(fd);
  if (watch == nullptr) return false;
  self.wanted = wanted;
  const int error = watch->enter(self);
  if (error != 0) {
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    return false;
  }
  self.future = future.take();
  return true;
}

void finish(SocketAwaitable& self) {
  self.is_done = true;
  leave_line(self);
  if (self.view.obj != nullptr) PyBuffer_Release(&self.view);
  // A task keeps its coroutine for as long as it lives.
  drop(std::exchange(self.argument, nullptr));
  drop(std::exchange(self.address, nullptr));
}

// Running
// ---------------------------------------------------------------------------------------------

/// What asyncio checks: sockets of SSL have methods of their own, and in debug mode, that it does
/// not block. False: an exception is set.
bool check(SocketAwaitable& self) {
  if (self.is_checked) return true;
  self.is_checked = true;
  LoopCore& loop = LoopCore::of(self.loop);
  const bool is_plain =
      reinterpret_cast<PyObject*>(Py_TYPE(self.socket)) == loop.library().socket_class;
  return (is_plain && !loop.is_debug()) ||
         PyRef::steal(PyObject_CallMethod(self.loop, "_check_socket", "O", self.socket)).get() !=
             nullptr;
}

PySendResult resume(SocketAwaitable& self, PyObject** result) {
  leave_line(self);
  const Attempt attempt = check(self) ? self.operation->attempt(self, result) : Attempt::failed;
  if (attempt == Attempt::wait_readable || attempt == Attempt::wait_writable) {
    const bool reads = attempt == Attempt::wait_readable;
    if (wait_for(self, reads ? io_uring::readable : io_uring::writable)) {
      *result = PyRef::borrow(self.future).take();
      return PYGEN_NEXT;
    }
    *result = nullptr;
  }
  finish(self);
  return *result == nullptr ? PYGEN_ERROR : PYGEN_RETURN;
}

const char* name_of(const SocketAwaitable& self) { return self.operation->name; }

using Methods = Coroutine<SocketAwaitable, resume, finish, name_of>;

// Life
// ---------------------------------------------------------------------------------------------

int awaitable_traverse(PyObject* object, visitproc visit, void* arg) {
  const SocketAwaitable& self = as_awaitable(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self.loop);
  Py_VISIT(self.socket);
  Py_VISIT(self.argument);
  Py_VISIT(self.address);
  Py_VISIT(self.view.obj);
  Py_VISIT(self.future);
  return 0;
}

int awaitable_clear(PyObject* object) {
  SocketAwaitable& self = as_awaitable(object);
  if (!self.is_done) finish(self);
  drop(std::exchange(self.socket, nullptr));
  return 0;
}

void awaitable_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  (void)awaitable_clear(object);
  drop(std::exchange(as_awaitable(object).loop, nullptr));
  free_instance(object);
}

}  // namespace

SocketAwaitable* new_socket_awaitable(LoopCore& loop, const SocketOperation& operation,
                                      PyObject* socket, PyObject* argument) {
  SocketAwaitable* const self = PyObject_GC_New(SocketAwaitable, loop.library().socket_type);
  if (self == nullptr) return nullptr;
  self->operation = &operation;
  self->loop = PyRef::borrow(loop.object()).take();
  self->socket = PyRef::borrow(socket).take();
  self->argument = PyRef::borrow(argument).take();
  self->address = nullptr;
  self->view = {};
  self->position = 0;
  self->future = nullptr;
  self->watch = nullptr;
  self->next = nullptr;
  self->previous = nullptr;
  self->wanted = 0;
  self->is_checked = false;
  self->is_done = false;
  self->is_running = false;
  PyObject_GC_Track(self);
  return self;
}

void resolve(SocketAwaitable& awaitable) {
  finish_wait(LoopCore::of(awaitable.loop).state(), awaitable.future);
}

bool add_socket_awaitable_type(PyObject* module, ModuleState& state) {
  state.loops.socket_type = Methods::new_type(
      module, "erlang.SocketAwaitable", {awaitable_dealloc, awaitable_traverse, awaitable_clear});
  return state.loops.socket_type != nullptr;
}

}  // namespace penstock::python
