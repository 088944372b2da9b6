// SPDX-License-Identifier: Apache-2.0
#include "loop_library.hpp"

#include "handle.hpp"
#include "module_state.hpp"
#include "shared_context.hpp"
#include "transport_type.hpp"

namespace penstock::python {

namespace {

/// `place` becomes module.name. False: an exception is set.
bool find(PyObject*& place, const char* module, const char* name) {
  const PyRef found = PyRef::steal(PyImport_ImportModule(module));
  if (!found) return false;
  place = PyObject_GetAttrString(found.get(), name);
  return place != nullptr;
}

bool find_for_transports(LoopLibrary& library) {
  return find(library.transport_socket, "asyncio.trsock", "TransportSocket") &&
         find(library.logger, "asyncio.log", "logger") &&
         find(library.buffered_protocol, "asyncio", "BufferedProtocol") &&
         find(library.stream_reader, "asyncio.streams", "StreamReader") &&
         find(library.stream_reader_protocol, "asyncio.streams", "StreamReaderProtocol") &&
         find(library.fast_stream_reader, "erlang.streams", "StreamReader");
}

bool find_create_task(PyObject*& place) {
  PyObject* base = nullptr;
  if (!find(base, "asyncio", "BaseEventLoop")) return false;
  const PyRef loop = PyRef::steal(base);
  place = PyObject_GetAttrString(loop.get(), "create_task");
  return place != nullptr;
}

}  // namespace

void LoopLibrary::forget() {
  max_spare = 0;
  for (Spare& each : spare) {
    while (each.count > 0) free_handle(*each.handles[--each.count]);
  }
}

PyObject* prepare_loops(PyObject* module, PyObject*) {
  ModuleState& state = state_of(module);
  LoopLibrary& library = state.loops;
  if (library.handle_type != nullptr) Py_RETURN_NONE;
  library.context_keyword = PyUnicode_InternFromString("context");
  library.no_arguments = PyTuple_New(0);
  const bool done = library.context_keyword != nullptr && library.no_arguments != nullptr &&
                    find(library.future_class, "asyncio", "Future") &&
                    find(library.task_class, "asyncio", "Task") &&
                    find(library.socket_class, "socket", "socket") &&
                    find(library.extract_stack, "asyncio.format_helpers", "extract_stack") &&
                    find(library.current_frame, "sys", "_getframe") &&
                    find_create_task(library.create_task) && find_for_transports(library) &&
                    make_handle_types(module, state) && make_transport_types(module, state);
  if (!done) return nullptr;
  library.can_share_contexts = SharedContext::is_possible();
  Py_RETURN_NONE;
}

}  // namespace penstock::python
