// SPDX-License-Identifier: Apache-2.0
#include "fd_watch.hpp"

#include "loop_core.hpp"
#include "socket_awaitable.hpp"

namespace penstock::python {

using io_uring::Interest;

namespace {

PyObject* as_object(SocketAwaitable* awaitable) noexcept {
  return reinterpret_cast<PyObject*>(awaitable);
}

}  // namespace

Interest FdWatch::wanted() const noexcept {
  Interest all = handled();
  for (const SocketAwaitable* each = first_; each != nullptr; each = each->next) {
    all = static_cast<Interest>(all | each->wanted);
  }
  return all;
}

SocketAwaitable* FdWatch::first_for(Interest what) const noexcept {
  SocketAwaitable* each = first_;
  while (each != nullptr && (each->wanted & what) == 0) each = each->next;
  return each;
}

std::size_t FdWatch::waiting_for(Interest what) const noexcept {
  std::size_t count = 0;
  for (const SocketAwaitable* each = first_; each != nullptr; each = each->next) {
    if ((each->wanted & what) != 0) ++count;
  }
  return count;
}

bool FdWatch::ready(Interest what) {
  const bool reads = (what & io_uring::readable) != 0 && reader;
  const bool writes = (what & io_uring::writable) != 0 && writer;
  if ((reads && !loop_.push_ready(PyRef::borrow(reader.get()))) ||
      (writes && !loop_.push_ready(PyRef::borrow(writer.get())))) {
    return false;
  }
  // Once for each that is there now: a loop with a call_soon() of its own may run anything, and the
  // line is another one afterwards.
  for (std::size_t left = waiting_for(what); left != 0; --left) {
    SocketAwaitable* const first = first_for(what);
    if (first == nullptr) break;
    const PyRef alive = PyRef::borrow(as_object(first));
    unlink(*first);
    resolve(*first);
  }
  if (!is_listed_ && wanted() != watched_) is_listed_ = loop_.settle_later(*this);
  return true;
}

int FdWatch::settle() {
  const Interest all = wanted();
  int error = 0;
  if (all != 0) error = loop_.watch(fd_, all, io_uring::Trigger::level, *this);
  // Somebody else may watch what has the number now.
  if ((all == 0 || error != 0) && loop_.watcher_of(fd_) == this) loop_.forget(fd_);
  watched_ = error == 0 ? all : Interest{0};
  if (first_ == nullptr) socket_ = {};
  return error;
}

int FdWatch::enter(SocketAwaitable& awaitable) {
  awaitable.watch = this;
  awaitable.next = nullptr;
  awaitable.previous = last_;
  (last_ != nullptr ? last_->next : first_) = &awaitable;
  last_ = &awaitable;
  (void)PyRef::borrow(as_object(&awaitable)).take();  // The line's.
  const bool is_same = socket_.get() == awaitable.socket && loop_.watcher_of(fd_) == this;
  if (is_same && (watched_ & awaitable.wanted) != 0) return 0;
  const int error = settle();
  if (error != 0) {
    unlink(awaitable);
  } else {
    socket_ = PyRef::borrow(awaitable.socket);
  }
  return error;
}

void FdWatch::leave(SocketAwaitable& awaitable) {
  unlink(awaitable);
  // At once: whoever cancels may go on to close it.
  if (wanted() != watched_) (void)settle();
}

void FdWatch::unlink(SocketAwaitable& awaitable) noexcept {
  (awaitable.next != nullptr ? awaitable.next->previous : last_) = awaitable.previous;
  (awaitable.previous != nullptr ? awaitable.previous->next : first_) = awaitable.next;
  awaitable.watch = nullptr;
  drop(as_object(&awaitable));  // Not the last: the caller has one.
}

void FdWatch::leave_all() noexcept {
  while (first_ != nullptr) {
    const PyRef alive = PyRef::borrow(as_object(first_));
    unlink(*first_);
  }
}

int FdWatch::traverse(visitproc visit, void* arg) const {
  Py_VISIT(reader.get());
  Py_VISIT(writer.get());
  Py_VISIT(file.get());
  Py_VISIT(socket_.get());
  for (SocketAwaitable* each = first_; each != nullptr; each = each->next) {
    Py_VISIT(as_object(each));
  }
  return 0;
}

}  // namespace penstock::python
