// SPDX-License-Identifier: Apache-2.0
#include "send_queue.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace penstock::python {

bool SendQueue::push(PyRef bytes, std::size_t offset) {
  try {
    pieces_.push_back({std::move(bytes), offset});
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
    return false;
  }
  size_ += pieces_.back().size();
  return true;
}

std::size_t SendQueue::peek(iovec* vectors, std::size_t room) const noexcept {
  std::size_t const count = std::min(room, pieces_.size() - first_);
  for (std::size_t i = 0; i < count; ++i) {
    const Piece& piece = pieces_[first_ + i];
    vectors[i] = {piece.data(), piece.size()};
  }
  return count;
}

void SendQueue::consume(std::size_t size) {
  size_ -= size;
  while (size != 0 && first_ < pieces_.size()) {
    Piece& piece = pieces_[first_];
    if (piece.size() > size) {
      piece.offset += size;
      break;
    }
    size -= piece.size();
    ++first_;
    // Objects of a subclass may do anything as they go, and clear the queue.
    const PyRef sent = std::move(piece.bytes);
  }
  drop_consumed();
}

void SendQueue::drop_consumed() {
  constexpr std::size_t kFew = 64;
  if (first_ == pieces_.size()) {
    pieces_.clear();
    if (pieces_.capacity() > kFew) pieces_.shrink_to_fit();
    first_ = 0;
  } else if (first_ >= kFew && first_ >= pieces_.size() / 2) {
    pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
}

void SendQueue::clear() {
  const std::vector<Piece> old = std::exchange(pieces_, {});
  first_ = 0;
  size_ = 0;
}

PyObject* SendQueue::as_list() const {
  PyRef list = PyRef::steal(PyList_New(0));
  for (std::size_t i = first_; list && i < pieces_.size(); ++i) {
    const PyRef rest = PyRef::steal(
        PyBytes_FromStringAndSize(pieces_[i].data(), static_cast<Py_ssize_t>(pieces_[i].size())));
    if (!rest || PyList_Append(list.get(), rest.get()) != 0) return nullptr;
  }
  return list.take();
}

}  // namespace penstock::python
