// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"
#include "penstock/byte_stream.hpp"

namespace penstock::python {

/// erlang.PyBuffer. Owns a reference to the stream, and is counted as one of its readers.
struct BufferObject {
  PyObject_HEAD ModuleState* state;
  ByteStream* stream;
  PyObject* weak_references;
  mutable bool is_reader;  ///< See may_read().
};

[[nodiscard]] inline BufferObject& as_buffer(PyObject* object) noexcept {
  return *reinterpret_cast<BufferObject*>(object);
}

/// nullptr: MemoryError is set.
[[nodiscard]] PyObject* new_buffer(ModuleState& state, Ref<ByteStream> stream);

/// The stream of a PyBuffer (borrowed), or nullptr if `object` is something else.
[[nodiscard]] ByteStream* stream_of(const ModuleState& state, PyObject* object) noexcept;

[[nodiscard]] bool add_buffer_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
