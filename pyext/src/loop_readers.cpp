// SPDX-License-Identifier: Apache-2.0
#include <cerrno>

#include "loop_core.hpp"
#include "loop_methods.hpp"

/// add_reader, add_writer and their opposites.
namespace penstock::python {

namespace {

using io_uring::Interest;
using io_uring::readable;
using io_uring::writable;

constexpr int kNoDescriptor = -1;

/// Of something that may have been closed since it was added. kNoDescriptor: ValueError is set.
int added_descriptor_of(LoopCore& loop, PyObject* file) {
  const int fd = loop.descriptor_of(file);
  if (fd != kNoDescriptor) return fd;
  const auto all = loop.fd_watches();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i] == nullptr || all[i]->file.get() != file) continue;
    PyErr_Clear();
    return static_cast<int>(i);
  }
  return kNoDescriptor;
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
  const int fd = loop.descriptor_of(args[0]);
  if (fd == kNoDescriptor) return nullptr;
  PyRef handle = new_handle(loop, {args[1], args + 2, count - 2, nullptr});
  FdWatch* const watch = handle ? loop.fd_watch(fd) : nullptr;
  if (watch == nullptr) return nullptr;
  PyRef old = std::exchange(watch->handle(which), PyRef::borrow(handle.get()));
  watch->file = PyRef::borrow(PyLong_Check(args[0]) != 0 ? nullptr : args[0]);
  // Also if it is watched: there may be another file behind the number.
  const int error = watch->settle();
  if (error != 0) {
    watch->handle(which) = {};
    return raise_errno(error);
  }
  return cancel_old(old) ? handle.take() : nullptr;
}

PyObject* remove(PyObject* self, PyObject* file, Interest which) {
  LoopCore& loop = LoopCore::of(self);
  if (loop.is_closed()) Py_RETURN_FALSE;
  const int fd = added_descriptor_of(loop, file);
  if (fd == kNoDescriptor) return nullptr;
  FdWatch* const watch = loop.known_fd_watch(fd);
  if (watch == nullptr || !watch->handle(which)) Py_RETURN_FALSE;
  PyRef old = std::exchange(watch->handle(which), {});
  if (watch->handled() == 0) watch->file = {};
  (void)watch->settle();  // If it is closed, nothing can be watched any more.
  if (!cancel_old(old)) return nullptr;
  Py_RETURN_TRUE;
}

PyObject* none_for(PyObject* handle) {
  const PyRef added = PyRef::steal(handle);
  if (!added) return nullptr;
  Py_RETURN_NONE;
}

/// False: an exception is set.
bool is_nobodys(PyObject* self, PyObject* file) {
  LoopCore& loop = LoopCore::of(self);
  const int fd = added_descriptor_of(loop, file);
  return fd != kNoDescriptor && loop.check_no_transport(file, fd);
}

bool may_add(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return count < 1 || is_nobodys(self, args[0]);
}

}  // namespace

PyObject* loop_add_reader(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return may_add(self, args, count) ? none_for(add(self, args, count, readable)) : nullptr;
}

PyObject* loop_add_writer(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  return may_add(self, args, count) ? none_for(add(self, args, count, writable)) : nullptr;
}

PyObject* loop_remove_reader(PyObject* self, PyObject* file) {
  return is_nobodys(self, file) ? remove(self, file, readable) : nullptr;
}

PyObject* loop_remove_writer(PyObject* self, PyObject* file) {
  return is_nobodys(self, file) ? remove(self, file, writable) : nullptr;
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
  const FdWatch* const watch = loop.known_fd_watch(fd);
  PyObject* const none = Py_None;
  if (watch == nullptr) return Py_BuildValue("(iOO)", 0, none, none);
  return Py_BuildValue("(iOO)", static_cast<int>(watch->handled()),
                       watch->reader ? watch->reader.get() : none,
                       watch->writer ? watch->writer.get() : none);
}

PyObject* loop_watched(PyObject* self, PyObject*) {
  const auto all = LoopCore::of(self).fd_watches();
  PyRef list = PyRef::steal(PyList_New(0));
  for (std::size_t i = 0; list && i < all.size(); ++i) {
    if (all[i] == nullptr || all[i]->handled() == 0) continue;
    const PyRef fd = PyRef::steal(PyLong_FromSize_t(i));
    if (!fd || PyList_Append(list.get(), fd.get()) != 0) return nullptr;
  }
  return list.take();
}

}  // namespace penstock::python
