// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "module_state.hpp"
#include "watcher.hpp"

namespace penstock::python {

class FdWatch;
class LoopCore;
struct SocketAwaitable;

/// What came of trying something with a socket.
enum class Attempt : std::uint8_t {
  done,           ///< The result is there.
  failed,         ///< An exception is set.
  wait_readable,  ///< To be tried again once the socket can be read,
  wait_writable,  ///< or written.
};

/// One kind of coroutine that does something with a socket: a row of this table and a
/// SocketAwaitable make what `loop.sock_recv()` returns. `attempt` never blocks.
struct SocketOperation {
  const char* name;
  Attempt (*attempt)(SocketAwaitable& self, PyObject** result);
};

/// A coroutine in C++ that tries its operation each time that it runs and waits for the socket in
/// between. So what is received is received by a coroutine that runs, and one that is cancelled
/// takes nothing with it.
///
/// Threads: the loop's, with the GIL.
struct SocketAwaitable {
  PyObject_HEAD PyObject* loop;
  const SocketOperation* operation;
  PyObject* socket;
  PyObject* argument;   ///< The operation's, or nullptr.
  PyObject* address;    ///< The operation's, or nullptr.
  Py_buffer view;       ///< The operation's, if view.obj is not nullptr.
  Py_ssize_t position;  ///< In it.

  PyObject* future;  ///< While waiting: what the task waits for.
  FdWatch* watch;    ///< While in its line, which has a reference.
  SocketAwaitable* next;
  SocketAwaitable* previous;
  io_uring::Interest wanted;
  bool is_checked;
  bool is_done;
  bool is_running;
};

/// nullptr: an exception is set.
[[nodiscard]] SocketAwaitable* new_socket_awaitable(LoopCore& loop,
                                                    const SocketOperation& operation,
                                                    PyObject* socket, PyObject* argument);

/// The socket is ready for what it wanted, or will never be.
void resolve(SocketAwaitable& awaitable);

[[nodiscard]] bool add_socket_awaitable_type(PyObject* module, ModuleState& state);

}  // namespace penstock::python
