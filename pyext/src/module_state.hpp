// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "atom_cache.hpp"
#include "ref.hpp"

namespace penstock::python {

struct EndpointObject;
struct AwaitableObject;

/// Everything that `erlang._native` remembers in one interpreter.
///
/// Lives as long as the process: the module keeps a reference to itself, because contexts, event
/// loops and daemon threads may outlast what the garbage collector would call its last use.
///
/// Threads: with the GIL.
struct ModuleState {
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
  } names;

  AtomCache atom_strings;
  PyObject* atoms = nullptr;  ///< dict: name -> erlang.Atom.

  /// The last pids decoded, by a few bits of their word: a server talks to few peers at a time.
  std::array<PyObject*, 64> recent_pids{};

  PyObject* get_running_loop = nullptr;  ///< asyncio's, once somebody had to wait.
  PyObject* async_call_type = nullptr;   ///< erlang.calls.AsyncCall, once somebody used it.
  PyObject* loop_keyword = nullptr;      ///< ("loop",)
  /// Borrowed both; an endpoint takes itself out, and knows (weakly) its loop.
  std::unordered_map<PyObject*, EndpointObject*> endpoints;

  std::array<AwaitableObject*, 32> spare_awaitables{};
  std::size_t spare_awaitable_count = 0;
};

/// The state of a module made by this definition.
[[nodiscard]] inline ModuleState& state_of(PyObject* module) noexcept {
  return **static_cast<ModuleState**>(PyModule_GetState(module));
}

extern PyModuleDef native_module;

}  // namespace penstock::python
