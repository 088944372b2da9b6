// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "ref.hpp"

namespace penstock::python {

/// Whether all bytes are below 128.
[[nodiscard]] bool is_ascii(std::span<const std::uint8_t> bytes) noexcept;

/// Whether Python's strict UTF-8 decoder would accept them: no surrogates, no overlong forms.
[[nodiscard]] bool is_utf8(std::span<const std::uint8_t> bytes) noexcept;

/// A str if the bytes are UTF-8, else bytes. nullptr: a Python exception is set.
[[nodiscard]] PyObject* str_or_bytes(std::span<const std::uint8_t> bytes);

/// A str of bytes that are known to be UTF-8.
[[nodiscard]] PyObject* str_of(std::span<const std::uint8_t> utf8);

[[nodiscard]] inline PyObject* bytes_of(std::span<const std::uint8_t> bytes) {
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes.data()),
                                   static_cast<Py_ssize_t>(bytes.size()));
}

/// UTF-8 bytes that `str` needs, or -1 if it holds a lone surrogate. Never raises.
[[nodiscard]] Py_ssize_t utf8_size(PyObject* str) noexcept;
/// Writes them. Call after utf8_size() was not -1.
void write_utf8(PyObject* str, std::uint8_t* to) noexcept;

}  // namespace penstock::python
