// SPDX-License-Identifier: Apache-2.0
#include "module_state.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "awaitable.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

template <class T>
void clear_field(T*& field) {
  drop(reinterpret_cast<PyObject*>(std::exchange(field, nullptr)));
}

template <class Function>
void for_each_type(Function function, ModuleState& state) {
  for (PyTypeObject*& type : state.opaque_types) function(type);
  for (PyTypeObject** const type :
       {&state.atom_type, &state.channel_type, &state.byte_channel_type, &state.byte_view_type,
        &state.iterator_type, &state.awaitable_type, &state.endpoint_type, &state.inbox_reader_type,
        &state.schedule_marker_type, &state.inline_marker_type, &state.buffer_type,
        &state.piece_type, &state.task_server_type, &state.task_run_type}) {
    function(*type);
  }
  state.loops.for_each_type(function);
}

template <class Function>
void for_each_object(Function function, ModuleState& state) {
  for (PyObject** const object :
       {&state.channel_closed, &state.byte_channel_closed, &state.process_error,
        &state.suspension_required, &state.application_stopped, &state.buffer_aborted,
        &state.body_truncated, &state.atoms, &state.get_running_loop, &state.async_call_type,
        &state.loop_keyword, &state.at_call_end, &state.cancelled_error, &state.set_wakeup_fd,
        &state.warn_keyword, &state.nothing}) {
    function(*object);
  }
  state.loops.for_each_object(function);
}

struct Name {
  PyObject** slot;
  const char* text;
};

template <class Function>
bool for_each_name(Function function, ModuleState::Names& names) {
  const Name table[] = {
      {&names.tolist, "tolist"},
      {&names.ndim, "ndim"},
      {&names.done, "done"},
      {&names.create_future, "create_future"},
      {&names.add_reader, "add_reader"},
      {&names.set_result, "set_result"},
      {&names.set_exception, "set_exception"},
      {&names.future_blocking, "_asyncio_future_blocking"},
      {&names.unsupported_operation, "UnsupportedOperation"},
      {&names.error_class, "error_class"},
      {&names.reason, "reason"},
      {&names.stack, "stack"},
      {&names.caller, "erlang._caller"},
      {&names.dunder_name, "__name__"},
      {&names.call_soon, "call_soon"},
      {&names.create_task, "create_task"},
      {&names.cancel, "cancel"},
      {&names.throw_, "throw"},
      {&names.fileno, "fileno"},
      {&names.cancelled, "_cancelled"},
      {&names.run, "_run"},
      {&names.run_watched, "_run_watched"},
      {&names.call_exception_handler, "call_exception_handler"},
      {&names.ensure_fd_no_transport, "_ensure_fd_no_transport"},
      {&names.transports, "_transports"},
      {&names.data, "data"},
      {&names.connection_made, "connection_made"},
      {&names.connection_lost, "connection_lost"},
      {&names.eof_received, "eof_received"},
      {&names.data_received, "data_received"},
      {&names.get_buffer, "get_buffer"},
      {&names.buffer_updated, "buffer_updated"},
      {&names.pause_writing, "pause_writing"},
      {&names.resume_writing, "resume_writing"},
      {&names.datagram_received, "datagram_received"},
      {&names.error_received, "error_received"},
      {&names.getsockname, "getsockname"},
      {&names.getpeername, "getpeername"},
      {&names.close, "close"},
      {&names.start_transport, "_start"},
      {&names.serve_transport, "_serve"},
      {&names.call_connection_lost, "_call_connection_lost"},
      {&names.is_cancelled, "cancelled"},
      {&names.stream_reader, "_stream_reader_wr"},
      {&names.buffer, "_buffer"},
      {&names.waiter, "_waiter"},
      {&names.limit, "_limit"},
      {&names.paused, "_paused"},
      {&names.transport, "_transport"},
      {&names.eof, "_eof"},
      {&names.loop, "_loop"},
      {&names.result, "result"},
      {&names.read, "read"},
      {&names.exception, "_exception"},
      {&names.maybe_resume_transport, "_maybe_resume_transport"},
  };
  return std::all_of(std::begin(table), std::end(table), function);
}

}  // namespace

bool ModuleState::Names::intern() {
  const auto make = [](const Name& name) {
    *name.slot = PyUnicode_InternFromString(name.text);
    return *name.slot != nullptr;
  };
  return for_each_name(make, *this);
}

int ModuleState::visit(visitproc function, void* arg) {
  int result = 0;
  const auto look_at = [&](auto* object) {
    if (object != nullptr && result == 0)
      result = function(reinterpret_cast<PyObject*>(object), arg);
  };
  for_each_type(look_at, *this);
  for_each_object(look_at, *this);
  // Each of the spare ones holds its type.
  for (std::size_t i = 0; i < spare_awaitable_count; ++i) look_at(awaitable_type);
  for (std::size_t i = 0; i < loops.spare[0].count; ++i) look_at(loops.handle_type);
  for (std::size_t i = 0; i < loops.spare[1].count; ++i) look_at(loops.timer_type);
  return result;
}

void ModuleState::forget() {
  for (PyObject*& pid : recent_pids) clear_field(pid);
  for (PyObject*& atom : recent_atoms) clear_field(atom);
  if (atoms != nullptr) PyDict_Clear(atoms);
  max_spare_awaitables = 0;
  while (spare_awaitable_count > 0) {
    free_instance(reinterpret_cast<PyObject*>(spare_awaitables[--spare_awaitable_count]));
  }
  loops.forget();
}

void ModuleState::clear() {
  forget();
  for_each_object([](PyObject*& object) { clear_field(object); }, *this);
  for_each_type([](PyTypeObject*& type) { clear_field(type); }, *this);
}

void ModuleState::drop_all() {
  clear();
  atom_strings.clear();
  const auto drop_name = [](const Name& name) {
    clear_field(*name.slot);
    return true;
  };
  (void)for_each_name(drop_name, names);
}

}  // namespace penstock::python
