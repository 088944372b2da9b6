// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "buffer_object.hpp"

namespace penstock::python {

namespace detail {
[[nodiscard]] bool claim_reading(const BufferObject& self);
void give_up_reading(const BufferObject& self) noexcept;
}  // namespace detail

/// Whether the objects of this interpreter are those that read the stream: where the GIL stands in
/// for the reader role (HeldReading), readers with another GIL must be kept out. The first to read
/// gets it, for all objects of its interpreter, until the last of them that has read goes.
///
/// Threads: with the GIL. Cost: a look at the object, but for the first time. False: RuntimeError
/// is set, it is read in another interpreter.
[[nodiscard]] inline bool may_read(const BufferObject& self) {
  return self.is_reader || detail::claim_reading(self);
}

/// The object goes.
inline void end_reading(const BufferObject& self) noexcept {
  if (self.is_reader) detail::give_up_reading(self);
}

}  // namespace penstock::python
