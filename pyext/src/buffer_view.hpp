// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "gil.hpp"
#include "ref.hpp"

namespace penstock::python {

/// The buffer of a bytes-like object, for a scope: its memory neither moves nor goes. With the GIL.
///
/// A thread that is unwound because the interpreter is finalizing (see GilRelease) does not have
/// the GIL, and gives nothing back.
class BufferView : public Py_buffer {
 public:
  BufferView() noexcept : Py_buffer{} {}
  BufferView(const BufferView&) = delete;
  BufferView& operator=(const BufferView&) = delete;
  ~BufferView() {
    if (obj != nullptr && has_gil()) PyBuffer_Release(this);
  }

  /// `flags`: PyBUF_SIMPLE, ... Once. False: an exception is set.
  [[nodiscard]] bool get(PyObject* object, int flags) {
    return PyObject_GetBuffer(object, this, flags) == 0;
  }
  /// Of one that is contiguous.
  [[nodiscard]] std::span<std::uint8_t> bytes() const noexcept {
    return {static_cast<std::uint8_t*>(buf), static_cast<std::size_t>(len)};
  }
};

}  // namespace penstock::python
