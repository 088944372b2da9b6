// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>

#include "ref.hpp"

namespace penstock::python {

struct ModuleState;
struct HandleObject;

/// What the event loops of one interpreter share: types that derive from asyncio's, and what they
/// need of asyncio; there once erlang.eventloop is imported.
///
/// Threads: with the interpreter's GIL.
struct LoopLibrary {
  PyTypeObject* core_type = nullptr;
  PyTypeObject* handle_type = nullptr;
  PyTypeObject* timer_type = nullptr;
  PyTypeObject* transport_type = nullptr;  ///< What the others derive from.
  PyTypeObject* stream_transport_type = nullptr;
  PyTypeObject* datagram_transport_type = nullptr;
  PyTypeObject* socket_type = nullptr;  ///< See SocketAwaitable.
  PyTypeObject* stream_read_type = nullptr;
  PyTypeObject* read_method_type = nullptr;  ///< See StreamRead.

  PyObject* future_class = nullptr;
  PyObject* task_class = nullptr;
  PyObject* socket_class = nullptr;
  PyObject* create_task = nullptr;             ///< asyncio.BaseEventLoop's own, for what is rare.
  PyObject* extract_stack = nullptr;           ///< asyncio.format_helpers'.
  PyObject* current_frame = nullptr;           ///< sys._getframe.
  PyObject* context_keyword = nullptr;         ///< "context"
  PyObject* transport_socket = nullptr;        ///< asyncio.trsock.TransportSocket.
  PyObject* logger = nullptr;                  ///< asyncio's.
  PyObject* buffered_protocol = nullptr;       ///< asyncio.BufferedProtocol.
  PyObject* stream_reader = nullptr;           ///< asyncio.StreamReader.
  PyObject* stream_reader_protocol = nullptr;  ///< asyncio.StreamReaderProtocol.
  PyObject* fast_stream_reader = nullptr;      ///< erlang.streams.StreamReader.
  PyObject* no_arguments = nullptr;            ///< ()

  bool can_share_contexts = false;  ///< See SharedContext.

  /// Memory of handles that are gone, each with its type's reference: [0] handles, [1] timers.
  struct Spare {
    std::array<HandleObject*, 256> handles{};
    std::size_t count = 0;
  };
  std::array<Spare, 2> spare;
  std::size_t max_spare = 256;

  template <class Function>
  void for_each_object(Function function) {
    for (PyObject** const object :
         {&future_class, &task_class, &socket_class, &create_task, &extract_stack, &current_frame,
          &context_keyword, &no_arguments, &transport_socket, &logger, &buffered_protocol,
          &stream_reader, &stream_reader_protocol, &fast_stream_reader}) {
      function(*object);
    }
  }
  template <class Function>
  void for_each_type(Function function) {
    for (PyTypeObject** const type :
         {&core_type, &handle_type, &timer_type, &socket_type, &transport_type,
          &stream_transport_type, &datagram_transport_type, &stream_read_type, &read_method_type}) {
      function(*type);
    }
  }
  /// Gives the spare memory back, and keeps none from here on.
  void forget();
};

/// Fills the library of a module: `_native._prepare_loops()`.
PyObject* prepare_loops(PyObject* module, PyObject*);

}  // namespace penstock::python
