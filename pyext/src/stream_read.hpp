// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"

namespace penstock::python {

/// `read()` of asyncio.StreamReader as a coroutine in C++, for readers that are fed by our stream
/// transports. What the reader knows stays in the attributes that asyncio's own methods use, so
/// these may be mixed with it.
///
/// Threads: the loop's, with the GIL.
struct StreamRead {
  PyObject_HEAD ModuleState* state;
  PyObject* reader;  ///< Until it is done.
  Py_ssize_t limit;  ///< Bytes; at least 1.
  PyObject* future;  ///< While waiting: what the task waits for, and the reader's `_waiter`.
  bool is_done;
  bool is_running;
};

/// Has the reader of a plain asyncio.StreamReaderProtocol of `loop` read in C++ from now on. False:
/// an exception is set. Nothing happens to a reader that is not exactly asyncio's.
[[nodiscard]] bool give_fast_read(const LoopLibrary& library, PyObject* reader, PyObject* loop);

/// `_native._stream_read_method(original, /)`: what erlang.streams.StreamReader has as its `read`.
PyObject* stream_read_method(PyObject* module, PyObject* original);

[[nodiscard]] bool add_stream_read_types(PyObject* module, ModuleState& state);

}  // namespace penstock::python
