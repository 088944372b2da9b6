// SPDX-License-Identifier: Apache-2.0
#include "stream_transport.hpp"
#include "transport_methods.hpp"

namespace penstock::python {

namespace {

PyObject* none_if(bool done) {
  if (!done) return nullptr;
  Py_RETURN_NONE;
}

PyObject* write(PyObject* self, PyObject* data) {
  return none_if(StreamTransport::of(self).write_bytes(data));
}

PyObject* writelines(PyObject* self, PyObject* lines) {
  return none_if(StreamTransport::of(self).write_lines(lines));
}

PyObject* write_eof(PyObject* self, PyObject*) {
  return none_if(StreamTransport::of(self).write_eof());
}

PyObject* can_write_eof(PyObject*, PyObject*) { Py_RETURN_TRUE; }

PyObject* make_empty_waiter(PyObject* self, PyObject*) {
  return StreamTransport::of(self).make_empty_waiter().take();
}

PyObject* reset_empty_waiter(PyObject* self, PyObject*) {
  StreamTransport::of(self).reset_empty_waiter();
  Py_RETURN_NONE;
}

PyObject* get_buffer(PyObject* self, void*) { return StreamTransport::of(self).queue().as_list(); }

PyObject* get_eof(PyObject* self, void*) {
  return PyBool_FromLong(StreamTransport::of(self).has_written_eof());
}

PyObject* get_empty_waiter(PyObject* self, void*) {
  PyObject* const waiter = StreamTransport::of(self).empty_waiter();
  return PyRef::borrow(waiter == nullptr ? Py_None : waiter).take();
}

}  // namespace

// clang-format off
PyMethodDef stream_transport_methods[] = {
    {"write", write, METH_O, "write(data)\n--\n\nSend it, or queue what there is no room for."},
    {"writelines", writelines, METH_O,
     "writelines(list_of_data)\n--\n\nSame, with several pieces at once."},
    {"write_eof", write_eof, METH_NOARGS,
     "write_eof()\n--\n\nTell the peer that no more comes when all is sent."},
    {"can_write_eof", can_write_eof, METH_NOARGS, nullptr},
    {"_make_empty_waiter", make_empty_waiter, METH_NOARGS, nullptr},
    {"_reset_empty_waiter", reset_empty_waiter, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef stream_transport_properties[] = {
    {"_buffer", get_buffer, nullptr, "A copy of what is queued.", nullptr},
    {"_eof", get_eof, nullptr, nullptr, nullptr},
    {"_empty_waiter", get_empty_waiter, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
// clang-format on

}  // namespace penstock::python
