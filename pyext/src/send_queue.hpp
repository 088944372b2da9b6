// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <vector>

#include "ref.hpp"

namespace penstock::python {

/// Bytes that a stream's socket had no room for, in the order in which they were written. Each
/// piece is a bytes object that is kept, not copied.
///
/// Threads: with the GIL. Cost: O(1) amortized for each piece.
class SendQueue {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == pieces_.size(); }
  /// Bytes, not pieces.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// What `bytes`, a bytes object, has from `offset` on. False: MemoryError is set.
  [[nodiscard]] bool push(PyRef bytes, std::size_t offset);
  /// The first pieces, as many as there is room for. Returns how many.
  [[nodiscard]] std::size_t peek(iovec* vectors, std::size_t room) const noexcept;
  /// The first `size` bytes are sent.
  void consume(std::size_t size);
  void clear();
  /// A list of bytes objects; nullptr: an exception is set.
  [[nodiscard]] PyObject* as_list() const;

 private:
  struct Piece {
    PyRef bytes;
    std::size_t offset;

    [[nodiscard]] char* data() const noexcept { return PyBytes_AS_STRING(bytes.get()) + offset; }
    [[nodiscard]] std::size_t size() const noexcept {
      return static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get())) - offset;
    }
  };

  void drop_consumed();

  std::vector<Piece> pieces_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

}  // namespace penstock::python
