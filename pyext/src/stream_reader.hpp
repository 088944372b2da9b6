// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "module_state.hpp"

namespace penstock::python {

/// Whether a protocol is exactly an asyncio.StreamReaderProtocol, and both that class and
/// StreamReader do what asyncio's do. False, and no exception: no.
[[nodiscard]] bool is_plain_stream_protocol(const LoopLibrary& library, PyObject* protocol);

/// The reader of a plain StreamReaderProtocol: asyncio's own, or erlang.streams'. Empty, and
/// perhaps an exception is set: there is none, or one of another class.
[[nodiscard]] PyRef reader_of(const ModuleState& state, PyObject* protocol);

/// What StreamReader.feed_data() does, without running any Python, for the reader of one
/// plain StreamReaderProtocol. False: an exception is set.
///
/// Threads: the loop's, with the GIL.
class StreamReaderFeed {
 public:
  /// Finds the reader; nothing is found if it is not in the state in which it may be fed.
  StreamReaderFeed(const ModuleState& state, PyObject* protocol, PyObject* transport);

  explicit operator bool() const noexcept { return static_cast<bool>(buffer_); }
  [[nodiscard]] bool is_empty() const noexcept { return PyByteArray_GET_SIZE(buffer_.get()) == 0; }

  [[nodiscard]] bool append(std::span<const char> data);
  /// Room behind what is in the buffer; nullptr: an exception is set. commit() says how much of it
  /// was used.
  [[nodiscard]] char* reserve(std::size_t size);
  [[nodiscard]] bool commit(std::size_t size);

  /// Wakes who waits for data. `is_full`: the transport is to be paused, and set_paused() called.
  [[nodiscard]] bool wake(bool* is_full);
  [[nodiscard]] bool set_paused();

 private:
  [[nodiscard]] bool is_cancelled(PyObject* waiter) const;
  [[nodiscard]] int exceeds_twice(PyObject* limit) const;

  const ModuleState& state_;
  PyRef reader_;
  PyRef buffer_;
  Py_ssize_t size_ = 0;  // Before reserve().
};

}  // namespace penstock::python
