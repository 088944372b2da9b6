// SPDX-License-Identifier: Apache-2.0
#include "transport_methods.hpp"

#include "transport.hpp"

namespace penstock::python {

namespace {

PyObject* none_if(bool done) {
  if (!done) return nullptr;
  Py_RETURN_NONE;
}

PyObject* or_none(PyObject* object) {
  return PyRef::borrow(object == nullptr ? Py_None : object).take();
}

// Life
// ---------------------------------------------------------------------------------------------

PyObject* close(PyObject* self, PyObject*) { return none_if(Transport::of(self).close()); }

PyObject* abort(PyObject* self, PyObject*) {
  return none_if(Transport::of(self).force_close(nullptr));
}

PyObject* force_close(PyObject* self, PyObject* exception) {
  return none_if(Transport::of(self).force_close(exception == Py_None ? nullptr : exception));
}

PyObject* fatal_error(PyObject* self, PyObject* args, PyObject* keywords) {
  const char* names[] = {"exc", "message", nullptr};
  PyObject* exception = nullptr;
  const char* message = "Fatal error on transport";
  if (PyArg_ParseTupleAndKeywords(args, keywords, "O|s", const_cast<char**>(names), &exception,
                                  &message) == 0) {
    return nullptr;
  }
  return none_if(Transport::of(self).fatal_error(exception, message));
}

PyObject* call_connection_lost(PyObject* self, PyObject* exception) {
  return none_if(Transport::of(self).lose_connection(exception == Py_None ? nullptr : exception));
}

PyObject* start(PyObject* self, PyObject* waiter) {
  return none_if(Transport::of(self).start(waiter));
}

PyObject* serve(PyObject* self, PyObject* what) {
  const long bits = PyLong_AsLong(what);
  if (bits == -1 && PyErr_Occurred() != nullptr) return nullptr;
  return none_if(Transport::of(self).serve(static_cast<io_uring::Interest>(bits)));
}

PyObject* is_closing(PyObject* self, PyObject*) {
  return PyBool_FromLong(Transport::of(self).is_closing());
}

// The protocol
// ---------------------------------------------------------------------------------------------

PyObject* set_protocol(PyObject* self, PyObject* protocol) {
  return none_if(Transport::of(self).set_protocol(protocol));
}

PyObject* get_protocol(PyObject* self, PyObject*) {
  return or_none(Transport::of(self).protocol());
}

PyObject* is_reading(PyObject* self, PyObject*) {
  return PyBool_FromLong(Transport::of(self).is_reading());
}

PyObject* pause_reading(PyObject* self, PyObject*) {
  return none_if(Transport::of(self).pause_reading());
}

PyObject* resume_reading(PyObject* self, PyObject*) {
  return none_if(Transport::of(self).resume_reading());
}

PyObject* get_extra_info(PyObject* self, PyObject* args, PyObject* keywords) {
  const char* names[] = {"name", "default", nullptr};
  PyObject* name = nullptr;
  PyObject* otherwise = Py_None;
  if (PyArg_ParseTupleAndKeywords(args, keywords, "O|O", const_cast<char**>(names), &name,
                                  &otherwise) == 0) {
    return nullptr;
  }
  PyObject* const extra = reinterpret_cast<TransportObject*>(self)->extra;
  PyObject* const found = extra == nullptr ? nullptr : PyDict_GetItemWithError(extra, name);
  if (found == nullptr && PyErr_Occurred() != nullptr) return nullptr;
  return PyRef::borrow(found == nullptr ? otherwise : found).take();
}

// Flow control
// ---------------------------------------------------------------------------------------------

/// False: an exception is set.
bool limit_from(PyObject* value, Py_ssize_t* limit) {
  if (value == Py_None) return true;
  *limit = PyNumber_AsSsize_t(value, nullptr);  // What is too large is as large as can be.
  return *limit != -1 || PyErr_Occurred() == nullptr;
}

bool set_limits(PyObject* self, PyObject* args, PyObject* keywords) {
  const char* names[] = {"high", "low", nullptr};
  PyObject* high = Py_None;
  PyObject* low = Py_None;
  if (PyArg_ParseTupleAndKeywords(args, keywords, "|OO", const_cast<char**>(names), &high, &low) ==
      0) {
    return false;
  }
  Py_ssize_t low_bytes = 0;
  if (!limit_from(low, &low_bytes)) return false;
  constexpr Py_ssize_t kUsual = Py_ssize_t{64} * 1024;
  Py_ssize_t high_bytes = low == Py_None ? kUsual : 4 * low_bytes;
  if (!limit_from(high, &high_bytes)) return false;
  if (low == Py_None) low_bytes = high_bytes / 4;
  return Transport::of(self).set_limits(high_bytes, low_bytes);
}

PyObject* set_write_buffer_limits(PyObject* self, PyObject* args, PyObject* keywords) {
  return none_if(set_limits(self, args, keywords) && Transport::of(self).maybe_pause_protocol());
}

PyObject* set_write_buffer_limits_only(PyObject* self, PyObject* args, PyObject* keywords) {
  return none_if(set_limits(self, args, keywords));
}

PyObject* get_write_buffer_limits(PyObject* self, PyObject*) {
  return Py_BuildValue("(nn)", Transport::of(self).low(), Transport::of(self).high());
}

PyObject* get_write_buffer_size(PyObject* self, PyObject*) {
  return PyLong_FromSize_t(Transport::of(self).queued());
}

PyObject* maybe_pause_protocol(PyObject* self, PyObject*) {
  return none_if(Transport::of(self).maybe_pause_protocol());
}

PyObject* maybe_resume_protocol(PyObject* self, PyObject*) {
  return none_if(Transport::of(self).maybe_resume_protocol());
}

// Attributes
// ---------------------------------------------------------------------------------------------

PyObject* get_loop(PyObject* self, void*) { return or_none(Transport::of(self).loop()); }
PyObject* get_sock(PyObject* self, void*) { return or_none(Transport::of(self).socket()); }
PyObject* get_server(PyObject* self, void*) { return or_none(Transport::of(self).server()); }
PyObject* get_own_protocol(PyObject* self, void*) { return get_protocol(self, nullptr); }
PyObject* get_fd(PyObject* self, void*) { return PyLong_FromLong(Transport::of(self).fd()); }
PyObject* get_lost(PyObject* self, void*) {
  return PyLong_FromUnsignedLong(Transport::of(self).lost());
}
PyObject* get_closing(PyObject* self, void*) { return is_closing(self, nullptr); }
PyObject* get_paused(PyObject* self, void*) {
  return PyBool_FromLong(Transport::of(self).is_paused());
}
PyObject* get_protocol_paused(PyObject* self, void*) {
  return PyBool_FromLong(Transport::of(self).is_protocol_paused());
}
PyObject* get_high(PyObject* self, void*) { return PyLong_FromSsize_t(Transport::of(self).high()); }
PyObject* get_low(PyObject* self, void*) { return PyLong_FromSsize_t(Transport::of(self).low()); }

template <class Function>
PyCFunction function(Function body) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(body));
}

}  // namespace

PyObject* transport_repr(PyObject* self) {
  const Transport& transport = Transport::of(self);
  const PyRef name =
      PyRef::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(Py_TYPE(self)), "__name__"));
  if (!name) return nullptr;
  const char* const state = transport.socket() == nullptr ? " closed"
                            : transport.is_closing()      ? " closing"
                                                          : "";
  if (transport.loop() == nullptr || LoopCore::of(transport.loop()).is_closed()) {
    return PyUnicode_FromFormat("<%U%s fd=%d>", name.get(), state, transport.fd());
  }
  const io_uring::Interest watched = transport.watched();
  const bool reads = (watched & io_uring::readable) != 0 && transport.is_reading();
  return PyUnicode_FromFormat("<%U%s fd=%d read=%s write=<%s, bufsize=%zu>>", name.get(), state,
                              transport.fd(), reads ? "polling" : "idle",
                              transport.queued() != 0 ? "polling" : "idle", transport.queued());
}

// clang-format off
PyMethodDef transport_methods[] = {
    {"close", close, METH_NOARGS, "close()\n--\n\nClose it when all that was written is sent."},
    {"abort", abort, METH_NOARGS, "abort()\n--\n\nClose it now."},
    {"is_closing", is_closing, METH_NOARGS, nullptr},
    {"set_protocol", set_protocol, METH_O, nullptr},
    {"get_protocol", get_protocol, METH_NOARGS, nullptr},
    {"is_reading", is_reading, METH_NOARGS, nullptr},
    {"pause_reading", pause_reading, METH_NOARGS, nullptr},
    {"resume_reading", resume_reading, METH_NOARGS, nullptr},
    {"get_extra_info", function(get_extra_info), METH_VARARGS | METH_KEYWORDS,
     "get_extra_info(name, default=None)\n--\n\nReturn what is known of the socket."},
    {"set_write_buffer_limits", function(set_write_buffer_limits), METH_VARARGS | METH_KEYWORDS,
     "set_write_buffer_limits(high=None, low=None)\n--\n\nSet when the protocol is to pause."},
    {"_set_write_buffer_limits", function(set_write_buffer_limits_only),
     METH_VARARGS | METH_KEYWORDS, nullptr},
    {"get_write_buffer_limits", get_write_buffer_limits, METH_NOARGS, nullptr},
    {"get_write_buffer_size", get_write_buffer_size, METH_NOARGS, nullptr},
    {"_maybe_pause_protocol", maybe_pause_protocol, METH_NOARGS, nullptr},
    {"_maybe_resume_protocol", maybe_resume_protocol, METH_NOARGS, nullptr},
    {"_force_close", force_close, METH_O, nullptr},
    {"_fatal_error", function(fatal_error), METH_VARARGS | METH_KEYWORDS, nullptr},
    {"_call_connection_lost", call_connection_lost, METH_O, nullptr},
    {"_start", start, METH_O, nullptr},
    {"_serve", serve, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef transport_properties[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {"_loop", get_loop, nullptr, nullptr, nullptr},
    {"_sock", get_sock, nullptr, nullptr, nullptr},
    {"_sock_fd", get_fd, nullptr, nullptr, nullptr},
    {"_server", get_server, nullptr, nullptr, nullptr},
    {"_protocol", get_own_protocol, nullptr, nullptr, nullptr},
    {"_conn_lost", get_lost, nullptr, nullptr, nullptr},
    {"_closing", get_closing, nullptr, nullptr, nullptr},
    {"_paused", get_paused, nullptr, nullptr, nullptr},
    {"_protocol_paused", get_protocol_paused, nullptr, nullptr, nullptr},
    {"_high_water", get_high, nullptr, nullptr, nullptr},
    {"_low_water", get_low, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
// clang-format on

}  // namespace penstock::python
