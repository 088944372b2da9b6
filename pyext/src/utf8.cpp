// SPDX-License-Identifier: Apache-2.0
#include "utf8.hpp"

#include <cstring>

namespace penstock::python {

namespace {

constexpr std::uint64_t kHighBits = 0x8080808080808080;

std::uint64_t load(const std::uint8_t* from) noexcept {
  std::uint64_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

bool is_continuation(std::uint8_t byte) noexcept { return (byte & 0xC0) == 0x80; }

/// Bytes of the well-formed sequence at `at` (table 3-7 of the Unicode standard); 0 if there is
/// none.
std::size_t sequence_bytes(const std::uint8_t* at, std::size_t left) noexcept {
  std::uint8_t const first = at[0];
  if (first < 0x80) return 1;
  if (first < 0xC2) return 0;
  if (first < 0xE0) return left >= 2 && is_continuation(at[1]) ? 2 : 0;
  if (first < 0xF0) {
    if (left < 3 || !is_continuation(at[1]) || !is_continuation(at[2])) return 0;
    if (first == 0xE0 && at[1] < 0xA0) return 0;  // Overlong.
    if (first == 0xED && at[1] > 0x9F) return 0;  // Surrogate.
    return 3;
  }
  if (first > 0xF4 || left < 4) return 0;
  if (!is_continuation(at[1]) || !is_continuation(at[2]) || !is_continuation(at[3])) return 0;
  if (first == 0xF0 && at[1] < 0x90) return 0;  // Overlong.
  if (first == 0xF4 && at[1] > 0x8F) return 0;  // Above U+10FFFF.
  return 4;
}

template <class Unit>
Py_ssize_t measure(const Unit* units, Py_ssize_t count) noexcept {
  Py_ssize_t bytes = 0;
  for (Py_ssize_t i = 0; i < count; ++i) {
    const auto unit = static_cast<std::uint32_t>(units[i]);
    if (unit >= 0xD800 && unit <= 0xDFFF) return -1;
    bytes += unit < 0x80 ? 1 : unit < 0x800 ? 2 : unit < 0x10000 ? 3 : 4;
  }
  return bytes;
}

template <class Unit>
void write(const Unit* units, Py_ssize_t count, std::uint8_t* to) noexcept {
  const auto put = [&to](std::uint32_t byte) { *to++ = static_cast<std::uint8_t>(byte); };
  for (Py_ssize_t i = 0; i < count; ++i) {
    const auto unit = static_cast<std::uint32_t>(units[i]);
    if (unit < 0x80) {
      put(unit);
    } else if (unit < 0x800) {
      put(0xC0 | unit >> 6);
      put(0x80 | (unit & 0x3F));
    } else if (unit < 0x10000) {
      put(0xE0 | unit >> 12);
      put(0x80 | (unit >> 6 & 0x3F));
      put(0x80 | (unit & 0x3F));
    } else {
      put(0xF0 | unit >> 18);
      put(0x80 | (unit >> 12 & 0x3F));
      put(0x80 | (unit >> 6 & 0x3F));
      put(0x80 | (unit & 0x3F));
    }
  }
}

/// Calls `use(units, count)` with the string's storage, whatever its width.
template <class Use>
auto with_units(PyObject* str, Use use) noexcept {
  const Py_ssize_t count = PyUnicode_GET_LENGTH(str);
  switch (PyUnicode_KIND(str)) {
    case PyUnicode_1BYTE_KIND:
      return use(PyUnicode_1BYTE_DATA(str), count);
    case PyUnicode_2BYTE_KIND:
      return use(PyUnicode_2BYTE_DATA(str), count);
    default:
      return use(PyUnicode_4BYTE_DATA(str), count);
  }
}

PyObject* ascii_str(std::span<const std::uint8_t> bytes) {
  // One character or none: CPython shares those.
  if (bytes.size() <= 1) {
    return PyUnicode_FromStringAndSize(reinterpret_cast<const char*>(bytes.data()),
                                       static_cast<Py_ssize_t>(bytes.size()));
  }
  PyObject* const str = PyUnicode_New(static_cast<Py_ssize_t>(bytes.size()), 127);
  if (str != nullptr) std::memcpy(PyUnicode_1BYTE_DATA(str), bytes.data(), bytes.size());
  return str;
}

}  // namespace

bool is_ascii(std::span<const std::uint8_t> bytes) noexcept {
  const std::uint8_t* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 32; at += 32, left -= 32) {
    if (((load(at) | load(at + 8) | load(at + 16) | load(at + 24)) & kHighBits) != 0) return false;
  }
  for (; left >= 8; at += 8, left -= 8) {
    if ((load(at) & kHighBits) != 0) return false;
  }
  std::uint8_t seen = 0;
  for (; left > 0; ++at, --left) seen |= *at;
  return seen < 0x80;
}

bool is_utf8(std::span<const std::uint8_t> bytes) noexcept {
  const std::uint8_t* at = bytes.data();
  std::size_t left = bytes.size();
  while (left > 0) {
    if (left >= 8 && (load(at) & kHighBits) == 0) {
      at += 8;
      left -= 8;
      continue;
    }
    std::size_t const step = sequence_bytes(at, left);
    if (step == 0) return false;
    at += step;
    left -= step;
  }
  return true;
}

PyObject* str_of(std::span<const std::uint8_t> utf8) {
  if (is_ascii(utf8)) return ascii_str(utf8);
  return PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(utf8.data()),
                              static_cast<Py_ssize_t>(utf8.size()), "strict");
}

PyObject* str_or_bytes(std::span<const std::uint8_t> bytes) {
  if (is_ascii(bytes)) return ascii_str(bytes);
  // Looked at before, because an exception made and thrown away costs more than a second look.
  if (!is_utf8(bytes)) return bytes_of(bytes);
  return str_of(bytes);
}

Py_ssize_t utf8_size(PyObject* str) noexcept {
  return with_units(str, [](auto* units, Py_ssize_t count) { return measure(units, count); });
}

void write_utf8(PyObject* str, std::uint8_t* to) noexcept {
  with_units(str, [to](auto* units, Py_ssize_t count) { write(units, count, to); });
}

}  // namespace penstock::python
