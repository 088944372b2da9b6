// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"

namespace penstock::python {

/// `read()` of asyncio.StreamReader as a coroutine in C++, for readers that are fed by our stream
/// transports. Erlang.streams.StreamReader inherits it from `_native._StreamReading`, a type
/// without state. What the reader knows stays in the attributes that asyncio's own methods use, so
/// these may be mixed with it.
///
/// Threads: the loop's, with the GIL.
struct StreamRead {
  PyObject_HEAD ModuleState* state;
  PyObject* reader;
  Py_ssize_t limit;  ///< Bytes; at least 1.
  PyObject* future;  ///< While waiting: what the task waits for, and the reader's `_waiter`.
  bool is_done;
  bool is_running;
};

/// Has the reader of a plain asyncio.StreamReaderProtocol of `loop` read in C++ from now on. False:
/// an exception is set. Nothing happens to a reader that is not exactly asyncio's.
[[nodiscard]] bool give_fast_read(const LoopLibrary& library, PyObject* reader, PyObject* loop);

[[nodiscard]] bool add_stream_read_types(PyObject* module, ModuleState& state);

}  // namespace penstock::python
