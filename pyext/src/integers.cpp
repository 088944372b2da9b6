// SPDX-License-Identifier: Apache-2.0
#include "integers.hpp"

#include <cstdlib>
#include <memory>

namespace penstock::python {

namespace {

struct FreeDeleter {
  void operator()(std::uint8_t* block) const noexcept { std::free(block); }
};

/// CPython has no public call for this before 3.13, and changed the private one there.
bool copy_magnitude(PyObject* positive, std::uint8_t* to, std::size_t bytes) {
  auto* const number = reinterpret_cast<PyLongObject*>(positive);
#if PY_VERSION_HEX >= 0x030D0000
  return _PyLong_AsByteArray(number, to, bytes, 1, 0, 1) == 0;
#else
  return _PyLong_AsByteArray(number, to, bytes, 1, 0) == 0;
#endif
}

bool append_big(wire::Writer& writer, PyObject* value, bool negative) {
  // int's own absolute value: a subclass may have overridden __abs__.
  const PyRef positive = PyRef::steal(PyLong_Type.tp_as_number->nb_absolute(value));
  if (!positive) return false;
  const auto bits = static_cast<std::size_t>(_PyLong_NumBits(positive.get()));
  if (bits == static_cast<std::size_t>(-1)) return false;
  std::size_t const bytes = (bits + 7) / 8;
  std::uint8_t inside[64];
  std::unique_ptr<std::uint8_t, FreeDeleter> outside;
  std::uint8_t* to = inside;
  if (bytes > sizeof inside) {
    outside.reset(static_cast<std::uint8_t*>(std::malloc(bytes)));
    to = outside.get();
  }
  return to != nullptr && copy_magnitude(positive.get(), to, bytes) &&
         writer.big_integer(negative, {to, bytes});
}

}  // namespace

PyObject* int_of_magnitude(bool negative, std::span<const std::uint8_t> magnitude) {
  if (magnitude.size() <= sizeof(std::uint64_t)) {
    std::uint64_t value = 0;
    for (std::size_t i = magnitude.size(); i > 0; --i) value = value << 8 | magnitude[i - 1];
    if (!negative) return PyLong_FromUnsignedLongLong(value);
    if (value <= std::uint64_t{1} << 63) {
      std::uint64_t const complement = ~value + 1;
      return PyLong_FromLongLong(static_cast<long long>(complement));
    }
  }
  const PyRef positive =
      PyRef::steal(_PyLong_FromByteArray(magnitude.data(), magnitude.size(), 1, 0));
  if (!positive || !negative) return PyRef::borrow(positive.get()).take();
  return PyNumber_Negative(positive.get());
}

bool append_int(wire::Writer& writer, PyObject* value) {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (overflow == 0) return writer.integer(number);
  return append_big(writer, value, overflow < 0);
}

}  // namespace penstock::python
