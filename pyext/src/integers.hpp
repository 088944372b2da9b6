// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "penstock/wire.hpp"
#include "ref.hpp"

namespace penstock::python {

/// The int with this magnitude, least significant byte first. nullptr: an exception is set.
[[nodiscard]] PyObject* int_of_magnitude(bool negative, std::span<const std::uint8_t> magnitude);

/// Appends an int (or an instance of a subclass) of any size; runs no code of subclasses.
/// False: memory ran out, with or without an exception set.
[[nodiscard]] bool append_int(wire::Writer& writer, PyObject* value);

}  // namespace penstock::python
