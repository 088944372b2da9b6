// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

#include "utf8.hpp"

namespace penstock::python {

/// bytes_of(), inline for 16 to 256 bytes: a line, a header, a small record.
///
/// That is how io.BytesIO gets its lines, for whom PyBytes_FromStringAndSize() is inlined; calling
/// it, and memcpy from there, costs 3 of the 44 ns that a line of 100 bytes takes in `for`.
/// Interpreters whose objects need more than a count and a type get them from the function.
[[nodiscard, gnu::always_inline]] inline PyObject* short_bytes_of(
    std::span<const std::uint8_t> from) {
#if defined(Py_GIL_DISABLED) || defined(Py_REF_DEBUG) || defined(Py_TRACE_REFS)
  return bytes_of(from);
#else
  constexpr std::size_t kStep = 16, kShort = 256;
  const std::size_t size = from.size();
  if (size < kStep || size > kShort) return bytes_of(from);
  auto* const bytes =
      static_cast<PyBytesObject*>(PyObject_Malloc(offsetof(PyBytesObject, ob_sval) + size + 1));
  if (bytes == nullptr) return PyErr_NoMemory();
  Py_SET_REFCNT(bytes, 1);
  Py_SET_TYPE(bytes, &PyBytes_Type);
  Py_SET_SIZE(bytes, static_cast<Py_ssize_t>(size));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  bytes->ob_shash = -1;  // Not known yet.
#pragma GCC diagnostic pop
  for (std::size_t at = 0; at + kStep < size; at += kStep) {
    std::memcpy(bytes->ob_sval + at, from.data() + at, kStep);
  }
  std::memcpy(bytes->ob_sval + size - kStep, from.data() + size - kStep, kStep);
  bytes->ob_sval[size] = 0;
  return reinterpret_cast<PyObject*>(bytes);
#endif
}

}  // namespace penstock::python
