// SPDX-License-Identifier: Apache-2.0
#include "functions.hpp"

#include "atom.hpp"
#include "blocking.hpp"
#include "caller.hpp"
#include "decode.hpp"
#include "encode.hpp"
#include "exceptions.hpp"
#include "markers.hpp"
#include "opaque.hpp"
#include "penstock/host.hpp"
#include "stream_read.hpp"
#include "timeouts.hpp"

namespace penstock::python {

namespace {

/// The VM, or nullptr and RuntimeError.
Host* require_host() {
  Host* const erlang = host();
  if (erlang == nullptr) PyErr_SetString(PyExc_RuntimeError, "not running inside Erlang");
  return erlang;
}

using Encode = bool (*)(ModuleState&, Message&, PyObject*);

/// Sends args[1] to the pid args[0]. False: an exception is set.
bool send_to_pid(PyObject* module, const char* name, PyObject* const* args, Py_ssize_t count,
                 Encode encode_term) {
  if (count != 2) {
    PyErr_Format(PyExc_TypeError, "%s() takes exactly 2 arguments (%zd given)", name, count);
    return false;
  }
  ModuleState& state = state_of(module);
  if (!is_pid(state, args[0])) {
    PyErr_SetString(PyExc_TypeError, "First argument must be an erlang.Pid");
    return false;
  }
  Host* const erlang = require_host();
  Message message;
  if (erlang == nullptr || !encode_term(state, message, args[1])) return false;
  switch (erlang->send(wire_of(args[0]), message)) {
    case Status::ok:
      return true;
    case Status::unreachable:
      PyErr_SetString(state.process_error, "the process does not exist");
      return false;
    case Status::limit:
      PyErr_SetString(PyExc_RuntimeError, "too many atoms were made from Python");
      return false;
    case Status::not_shared:
      raise_not_shared();
      return false;
    case Status::out_of_memory:
      PyErr_NoMemory();
      return false;
    default:
      PyErr_SetString(PyExc_ValueError, "the term has no form in Erlang");
      return false;
  }
}

PyObject* send(PyObject* module, PyObject* const* args, Py_ssize_t count) {
  if (!send_to_pid(module, "send", args, count, encode)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* reply(PyObject* module, PyObject* const* args, Py_ssize_t count) {
  if (!send_to_pid(module, "reply", args, count, encode_reply)) return nullptr;
  Py_RETURN_TRUE;
}

/// UTF-8 of a registered name. False: TypeError is set.
bool name_bytes(const ModuleState& state, PyObject* name, std::string_view& bytes) {
  if (is_atom(state, name)) {
    bytes = atom_name(name);
    return true;
  }
  if (PyBytes_Check(name)) {
    bytes = {PyBytes_AS_STRING(name), static_cast<std::size_t>(PyBytes_GET_SIZE(name))};
    return true;
  }
  if (!PyUnicode_Check(name)) {
    PyErr_Format(PyExc_TypeError, "a name is str, bytes or erlang.Atom, not '%.200s'",
                 Py_TYPE(name)->tp_name);
    return false;
  }
  Py_ssize_t size = 0;
  const char* const utf8 = PyUnicode_AsUTF8AndSize(name, &size);
  if (utf8 == nullptr) return false;
  bytes = {utf8, static_cast<std::size_t>(size)};
  return true;
}

PyObject* whereis(PyObject* module, PyObject* name) {
  ModuleState& state = state_of(module);
  std::string_view bytes;
  if (!name_bytes(state, name, bytes)) return nullptr;
  Host* const erlang = require_host();
  if (erlang == nullptr) return nullptr;
  Message pid;
  switch (erlang->whereis(bytes, pid)) {
    case Status::ok:
      return decode(state, pid);
    case Status::out_of_memory:
      return PyErr_NoMemory();
    default:
      Py_RETURN_NONE;
  }
}

/// The arguments of call() and its like: the name of a function, and what it takes. False:
/// TypeError is set.
bool erlang_function(const char* function, PyObject* const* args, Py_ssize_t count,
                     PyObject* keywords, ErlangFunction& called) {
  if (keywords != nullptr && PyTuple_GET_SIZE(keywords) != 0) {
    PyErr_Format(PyExc_TypeError, "%s() takes no keyword arguments", function);
    return false;
  }
  if (count == 0) {
    PyErr_Format(PyExc_TypeError, "%s() takes the name of a function, and its arguments", function);
    return false;
  }
  if (!PyUnicode_Check(args[0])) {
    PyErr_Format(PyExc_TypeError, "Function name must be a string, not '%.200s'",
                 Py_TYPE(args[0])->tp_name);
    return false;
  }
  called = {args[0], {args + 1, static_cast<std::size_t>(count - 1)}};
  return true;
}

PyObject* call(PyObject* module, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
  ErlangFunction function{};
  if (!erlang_function("call", args, count, keywords, function)) return nullptr;
  Caller* const caller = Caller::of_this_thread(state_of(module));
  return caller != nullptr ? caller->call(function) : nullptr;
}

PyObject* start_call(PyObject* module, PyObject* const* args, Py_ssize_t count) {
  ErlangFunction function{};
  if (!erlang_function("async_call", args, count, nullptr, function)) return nullptr;
  Caller* const caller = Caller::of_this_thread(state_of(module));
  return caller != nullptr ? caller->start(function) : nullptr;
}

PyObject* sleep(PyObject* module, PyObject* seconds) {
  std::int64_t deadline_ns = kNoDeadline;
  Status status = Status::empty;
  if (!deadline_of_seconds(seconds, deadline_ns) ||
      !block(state_of(module), Status::empty, status,
             [&](ThreadWaiter& waiter, ThreadWaiter::Wake* woken) {
               *woken = waiter.park(deadline_ns);
               return Status::empty;
             })) {
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* atom(PyObject* module, PyObject* name) { return atom_of(state_of(module), name); }

template <class Function>
PyCFunction function(Function body) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(body));
}

}  // namespace

// clang-format off
PyMethodDef module_functions[] = {
    {"send", function(send), METH_FASTCALL,
     "send(pid, term, /)\n--\n\n"
     "Send a term to an Erlang process. Never blocks.\n\n"
     "Raises ProcessError if there is no such process, TypeError if term cannot be converted."},
    {"reply", function(reply), METH_FASTCALL,
     "reply(pid, term, /)\n--\n\n"
     "Send an answer to an Erlang process and return True.\n\n"
     "As send, but a str that is the first element of a tuple arrives as an atom:\n"
     "reply(pid, ('result', 1)) is received as {result, 1}."},
    {"whereis", whereis, METH_O,
     "whereis(name, /)\n--\n\nReturn the pid registered under name, or None."},
    {"atom", atom, METH_O,
     "atom(name, /)\n--\n\nReturn the Erlang atom of that name, of at most 255 characters."},
    {"call", function(call), METH_FASTCALL | METH_KEYWORDS,
     "call(name, /, *args)\n--\n\n"
     "Call the Erlang function registered under name, and return what it returns.\n\n"
     "Blocks, without the GIL, for as long as it takes; from any thread. Raises RuntimeError if it\n"
     "fails or there is none, with the attributes error_class, reason and stack."},
    {"_start_call", function(start_call), METH_FASTCALL,
     "_start_call(name, /, *args)\n--\n\nReturn a future of the running loop for a call's result."},
    {"schedule", function(schedule), METH_FASTCALL | METH_KEYWORDS,
     "schedule(name, /, *args)\n--\n\n"
     "Return a marker: returned to Erlang, the call goes on with an Erlang function."},
    {"schedule_py", function(schedule_py), METH_FASTCALL | METH_KEYWORDS,
     "schedule_py(module, func, args=None, kwargs=None)\n--\n\n"
     "Return a marker: returned to Erlang, the call goes on with a Python function, behind all\n"
     "requests that wait for the context. The arguments are converted as those from Erlang are."},
    {"schedule_inline", function(schedule_inline), METH_FASTCALL | METH_KEYWORDS,
     "schedule_inline(module, func, args=None, kwargs=None)\n--\n\n"
     "Return a marker: returned to Erlang, the call goes on with a Python function, after one other\n"
     "request had its turn. The arguments stay what they are."},
    {"_sleep", sleep, METH_O,
     "_sleep(seconds, /)\n--\n\n"
     "Block this thread, without the GIL; interrupts end it, and the application's stop."},
    {"consume_time_slice", consume_time_slice, METH_O,
     "consume_time_slice(percent, /)\n--\n\n"
     "Count percent (1 to 100) of a time slice of 1 ms as used, beside the time that has passed.\n"
     "Return whether it is used up, and the work is to be split."},
    {"_stream_read_method", stream_read_method, METH_O, nullptr},
    {"_prepare_loops", prepare_loops, METH_NOARGS,
     "_prepare_loops()\n--\n\nFind in asyncio what loops need."},
    {nullptr, nullptr, 0, nullptr},
};
// clang-format on

}  // namespace penstock::python
