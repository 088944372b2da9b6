// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "ref.hpp"

namespace penstock::python {

/// Memory that an argument exported (PyObject_GetBuffer into this), or none; given back at the end.
///
/// A thread that is unwound because the interpreter is finalizing (see GilRelease) does not have
/// the GIL, and gives nothing back.
struct View : Py_buffer {
  View() : Py_buffer{} {}
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View() {
    if (obj != nullptr && PyGILState_Check() != 0) PyBuffer_Release(this);
  }

  /// Of one that is contiguous.
  [[nodiscard]] std::span<std::uint8_t> bytes() const noexcept {
    return {static_cast<std::uint8_t*>(buf), static_cast<std::size_t>(len)};
  }
};

}  // namespace penstock::python
