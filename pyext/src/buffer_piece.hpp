// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"
#include "penstock/byte_stream.hpp"

namespace penstock::python {

/// What memoryview(buffer).obj is when nothing was copied: an exporter of bytes of a stream that
/// keeps the chunk that they are in, and neither the stream nor what else it holds. nullptr:
/// MemoryError is set.
[[nodiscard]] PyObject* new_piece(ModuleState& state, ByteStream::Reading::Piece piece,
                                  Py_ssize_t size);

[[nodiscard]] bool add_piece_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
