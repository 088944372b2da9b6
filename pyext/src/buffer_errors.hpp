// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "buffer_read.hpp"
#include "module_state.hpp"

namespace penstock::python {

/// How a stream ended before its time; taken inside a Reading, raised after it.
struct EarlyEnd {
  EarlyEnd(ByteStream::Reading& reading, ByteStream::End how) noexcept
      : end(how), reason(reading.reason()), received(reading.written()) {}
  ByteStream::End end;
  const Message* reason;  ///< The stream's, which is kept alive by the caller.
  std::uint64_t received;
};

/// Raises BufferAborted or BodyTruncated.
void raise_early_end(ModuleState& state, const ByteStream& stream, const EarlyEnd& early);

[[nodiscard]] bool add_buffer_errors(PyObject* module, ModuleState& state);

}  // namespace penstock::python
