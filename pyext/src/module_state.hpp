// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "atom_cache.hpp"
#include "home.hpp"
#include "loop_library.hpp"
#include "ref.hpp"

namespace penstock::python {

struct EndpointObject;
struct AwaitableObject;
class Namespaces;

/// Everything that `erlang._native` remembers in one interpreter.
///
/// In the main interpreter it lives as long as the process: the module keeps a reference to itself,
/// because contexts, event loops and daemon threads may outlast what the garbage collector would
/// call its last use. In others the objects go with the module, at the interpreter's end, and the
/// struct stays until nothing can run there any more, because instances may outlast their module.
///
/// Threads: with the interpreter's GIL.
struct ModuleState {
  /// nullptr: an interpreter that somebody else made, where nobody can be told what comes back.
  Home* home = nullptr;

  /// Pid, Ref, Port, Fun: by wire::OpaqueKind.
  std::array<PyTypeObject*, 4> opaque_types{};
  PyTypeObject* atom_type = nullptr;
  PyTypeObject* channel_type = nullptr;
  PyTypeObject* byte_channel_type = nullptr;
  PyTypeObject* byte_view_type = nullptr;
  PyTypeObject* iterator_type = nullptr;
  PyTypeObject* awaitable_type = nullptr;
  PyTypeObject* endpoint_type = nullptr;
  PyTypeObject* inbox_reader_type = nullptr;
  PyTypeObject* schedule_marker_type = nullptr;
  PyTypeObject* inline_marker_type = nullptr;
  PyTypeObject* buffer_type = nullptr;
  PyTypeObject* piece_type = nullptr;
  PyTypeObject* task_server_type = nullptr;
  PyTypeObject* task_run_type = nullptr;

  PyObject* channel_closed = nullptr;
  PyObject* byte_channel_closed = nullptr;
  PyObject* process_error = nullptr;
  PyObject* suspension_required = nullptr;
  PyObject* application_stopped = nullptr;
  PyObject* buffer_aborted = nullptr;
  PyObject* body_truncated = nullptr;

  PyObject* at_call_end = nullptr;  ///< See CallScope; set once erlang._output is installed.

  /// Interned names of attributes.
  struct Names {
    PyObject* tolist = nullptr;
    PyObject* ndim = nullptr;
    PyObject* create_future = nullptr;
    PyObject* add_reader = nullptr;
    PyObject* set_result = nullptr;
    PyObject* set_exception = nullptr;
    PyObject* done = nullptr;
    PyObject* future_blocking = nullptr;
    PyObject* unsupported_operation = nullptr;
    PyObject* error_class = nullptr;
    PyObject* reason = nullptr;
    PyObject* stack = nullptr;
    PyObject* caller = nullptr;
    PyObject* dunder_name = nullptr;
    PyObject* call_soon = nullptr;
    PyObject* create_task = nullptr;
    PyObject* cancel = nullptr;
    PyObject* throw_ = nullptr;
    PyObject* fileno = nullptr;
    PyObject* cancelled = nullptr;
    PyObject* run = nullptr;
    PyObject* run_watched = nullptr;
    PyObject* call_exception_handler = nullptr;
    PyObject* ensure_fd_no_transport = nullptr;
    PyObject* transports = nullptr;
    PyObject* connection_made = nullptr;
    PyObject* connection_lost = nullptr;
    PyObject* eof_received = nullptr;
    PyObject* data_received = nullptr;
    PyObject* get_buffer = nullptr;
    PyObject* buffer_updated = nullptr;
    PyObject* pause_writing = nullptr;
    PyObject* resume_writing = nullptr;
    PyObject* datagram_received = nullptr;
    PyObject* error_received = nullptr;
    PyObject* getsockname = nullptr;
    PyObject* getpeername = nullptr;
    PyObject* close = nullptr;
    PyObject* start_transport = nullptr;
    PyObject* serve_transport = nullptr;
    PyObject* call_connection_lost = nullptr;
    PyObject* is_cancelled = nullptr;
    PyObject* stream_reader = nullptr;
    PyObject* buffer = nullptr;
    PyObject* waiter = nullptr;
    PyObject* limit = nullptr;
    PyObject* paused = nullptr;
    PyObject* transport = nullptr;
    PyObject* eof = nullptr;
    PyObject* data = nullptr;
    PyObject* loop = nullptr;
    PyObject* result = nullptr;
    PyObject* read = nullptr;
    PyObject* exception = nullptr;
    PyObject* maybe_resume_transport = nullptr;

    /// False: an exception is set.
    bool intern();
  } names;

  AtomCache atom_strings;
  PyObject* atoms = nullptr;  ///< dict: name -> erlang.Atom.

  /// The last pids decoded, by a few bits of their word: a server talks to few peers at a time.
  std::array<PyObject*, 64> recent_pids{};
  /// Strings of atoms that came by name, ASCII only: by a hash of the name, replaced in turn.
  std::array<PyObject*, 256> recent_atoms{};

  PyObject* get_running_loop = nullptr;  ///< asyncio's, once somebody had to wait.
  PyObject* async_call_type = nullptr;   ///< erlang.calls.AsyncCall, once somebody used it.
  PyObject* cancelled_error = nullptr;   ///< asyncio's, once there was a TaskServer.
  PyObject* loop_keyword = nullptr;      ///< ("loop",)
  PyObject* set_wakeup_fd = nullptr;     ///< signal's, once the main thread slept.
  PyObject* warn_keyword = nullptr;      ///< ("warn_on_full_buffer",)
  PyObject* nothing = nullptr;           ///< A code object, once an interrupt was taken back.
  /// Borrowed both; an endpoint takes itself out, and knows (weakly) its loop.
  std::unordered_map<PyObject*, EndpointObject*> endpoints;

  Namespaces* namespaces = nullptr;  ///< Of all contexts here, linked.

  std::array<AwaitableObject*, 32> spare_awaitables{};
  std::size_t spare_awaitable_count = 0;
  std::size_t max_spare_awaitables = 32;

  LoopLibrary loops;

  /// For the garbage collector.
  int visit(visitproc function, void* arg);
  /// Drops what is only remembered because it may be needed again, and which the collector cannot
  /// look through.
  void forget();
  /// Breaks the cycle of the module, its types and their instances.
  void clear();
  /// Drops all references, at the end of the module.
  void drop_all();
};

/// Bytes objects that came back to this interpreter. Cost: two loads if there are none.
inline void drop_returned(const ModuleState& state) {
  if (state.home != nullptr) state.home->drop_all();
}

/// What may stop the calling thread's waits, besides the application's stop: its context, or the
/// end of its interpreter. nullptr: nothing.
[[nodiscard]] inline Interruptible* owner_of_waits(const ModuleState& state) noexcept {
  Interruptible* const context = this_context();
  if (context != nullptr || state.home == nullptr) return context;
  return state.home->others();
}

/// The state of a module made by this definition.
[[nodiscard]] inline ModuleState& state_of(PyObject* module) noexcept {
  return **static_cast<ModuleState**>(PyModule_GetState(module));
}

extern PyModuleDef native_module;

}  // namespace penstock::python
