// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <climits>

#include "loop_core.hpp"
#include "loop_methods.hpp"

/// add_reader, add_writer and their opposites.
namespace penstock::python {

namespace {

using io_uring::Interest;
using io_uring::readable;
using io_uring::writable;

constexpr int kNoDescriptor = -1;

/// The number of what stands for a descriptor. kNoDescriptor: ValueError is set.
int descriptor_of(LoopCore& loop, PyObject* file) {
  PyRef number = PyRef::borrow(file);
  if (PyLong_Check(file) == 0) {
    number = PyRef::steal(PyObject_CallMethodNoArgs(file, loop.state().names.fileno));
    if (number) number = PyRef::steal(PyNumber_Long(number.get()));
    if (!number) {
      PyErr_Clear();
      PyErr_Format(PyExc_ValueError, "Invalid file object: %R", file);
      return kNoDescriptor;
    }
  }
  int overflow = 0;
  const long value = PyLong_AsLongAndOverflow(number.get(), &overflow);
  if (overflow != 0 || value < 0 || value > INT_MAX) {
    PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %S", number.get());
    return kNoDescriptor;
  }
  return static_cast<int>(value);
}

/// Same for something that may have been closed since it was added. kNoDescriptor: ValueError is
/// set.
int added_descriptor_of(LoopCore& loop, PyObject* file) {
  const int fd = descriptor_of(loop, file);
  if (fd != kNoDescriptor) return fd;
  const auto all = loop.all_handles();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i] == nullptr || all[i]->file.get() != file) continue;
    PyErr_Clear();
    return static_cast<int>(i);
  }
  return kNoDescriptor;
}

/// Raises RuntimeError for the descriptor of a transport. False: an exception is set.
bool is_nobodys(LoopCore& loop, PyObject* file) {
  return static_cast<bool>(PyRef::steal(
      PyObject_CallMethodOneArg(loop.object(), loop.state().names.ensure_fd_no_transport, file)));
}

PyObject* raise_errno(int error) {
  errno = error;
  return PyErr_SetFromErrno(PyExc_OSError);
}

/// Cancels a handle that was replaced or removed. False: an exception is set.
bool cancel_old(PyRef& handle) {
  const PyRef old = std::exchange(handle, {});
  return !old || cancel(as_handle(old.get()));
}

/// Returns the handle.
PyObject* add(PyObject* self, PyObject* const* args, Py_ssize_t count, Interest which) {
  LoopCore& loop = LoopCore::of(self);
  if (count < 2) {
    PyErr_Format(PyExc_TypeError, "%s() takes a descriptor and a callback",
                 which == readable ? "add_reader" : "add_writer");
    return nullptr;
  }
  if (!loop.check_open()) return nullptr;
  const int fd = descriptor_of(loop, args[0]);
  if (fd == kNoDescriptor) return nullptr;
  PyRef handle = new_handle(loop, {args[1], args + 2, count - 2, nullptr});
  FdHandles* const handles = handle ? loop.add_handles(fd) : nullptr;
  if (handles == nullptr) return nullptr;
  const auto interest = static_cast<Interest>(handles->interest() | which);
  // Again also if it is watched: there may be another file behind the number.
  const int error = loop.watch(fd, interest, io_uring::Trigger::level, *handles);
  if (error != 0) return raise_errno(error);
  handles->file = PyRef::borrow(PyLong_Check(args[0]) != 0 ? nullptr : args[0]);
  PyRef old = std::exchange(handles->of(which), PyRef::borrow(handle.get()));
  return cancel_old(old) ? handle.take() : nullptr;
}

PyObject* remove(PyObject* self, PyObject* file, Interest which) {
  LoopCore& loop = LoopCore::of(self);
  if (loop.is_closed()) Py_RETURN_FALSE;
  const int fd = added_descriptor_of(loop, file);
  if (fd == kNoDescriptor) return nullptr;
  FdHandles* const handles = loop.handles_of(fd);
  if (handles == nullptr || !handles->of(which)) Py_RETURN_FALSE;
  PyRef old = std::exchange(handles->of(which), {});
  const Interest interest = handles->interest();
  // Somebody else may watch what has the number now.
  if (loop.watcher_of(fd) == handles &&
      (interest == 0 || loop.watch(fd, interest, io_uring::Trigger::level, *handles) != 0)) {
    loop.forget(fd);
  }
  if (interest == 0) handles->file = {};
  if (!cancel_old(old)) return nullptr;
  Py_RETURN_TRUE;
}

PyObject* none_for(PyObject* handle) {
  const PyRef added = PyRef::steal(handle);
  if (!added) return nullptr;
  Py_RETURN_NONE;
}

bool may_add(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return count < 1 || is_nobodys(LoopCore::of(self), args[0]);
}

}  // namespace

PyObject* loop_add_reader(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return may_add(self, args, count) ? none_for(add(self, args, count, readable)) : nullptr;
}

PyObject* loop_add_writer(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return may_add(self, args, count) ? none_for(add(self, args, count, writable)) : nullptr;
}

PyObject* loop_remove_reader(PyObject* self, PyObject* file) {
  return is_nobodys(LoopCore::of(self), file) ? remove(self, file, readable) : nullptr;
}

PyObject* loop_remove_writer(PyObject* self, PyObject* file) {
  return is_nobodys(LoopCore::of(self), file) ? remove(self, file, writable) : nullptr;
}

PyObject* loop_add_transport_reader(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return add(self, args, count, readable);
}

PyObject* loop_add_transport_writer(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return add(self, args, count, writable);
}

PyObject* loop_remove_transport_reader(PyObject* self, PyObject* file) {
  return remove(self, file, readable);
}

PyObject* loop_remove_transport_writer(PyObject* self, PyObject* file) {
  return remove(self, file, writable);
}

PyObject* loop_interest(PyObject* self, PyObject* file) {
  LoopCore& loop = LoopCore::of(self);
  const int fd = added_descriptor_of(loop, file);
  if (fd == kNoDescriptor) return nullptr;
  const FdHandles* const handles = loop.handles_of(fd);
  PyObject* const none = Py_None;
  if (handles == nullptr) return Py_BuildValue("(iOO)", 0, none, none);
  return Py_BuildValue("(iOO)", static_cast<int>(handles->interest()),
                       handles->reader ? handles->reader.get() : none,
                       handles->writer ? handles->writer.get() : none);
}

PyObject* loop_watched(PyObject* self, PyObject*) {
  const auto all = LoopCore::of(self).all_handles();
  PyRef list = PyRef::steal(PyList_New(0));
  for (std::size_t i = 0; list && i < all.size(); ++i) {
    if (all[i] == nullptr || all[i]->interest() == 0) continue;
    const PyRef fd = PyRef::steal(PyLong_FromSize_t(i));
    if (!fd || PyList_Append(list.get(), fd.get()) != 0) return nullptr;
  }
  return list.take();
}

}  // namespace penstock::python
