// SPDX-License-Identifier: Apache-2.0
#include "datagram_transport.hpp"
#include "transport_methods.hpp"

namespace penstock::python {

namespace {

PyObject* sendto(PyObject* self, PyObject* args, PyObject* keywords) {
  const char* names[] = {"data", "addr", nullptr};
  PyObject* data = nullptr;
  PyObject* address = Py_None;
  if (PyArg_ParseTupleAndKeywords(args, keywords, "O|O", const_cast<char**>(names), &data,
                                  &address) == 0 ||
      !DatagramTransport::of(self).send_to(data, address)) {
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* get_address(PyObject* self, void*) {
  PyObject* const address = DatagramTransport::of(self).address();
  return PyRef::borrow(address == nullptr ? Py_None : address).take();
}

}  // namespace

// clang-format off
PyMethodDef datagram_transport_methods[] = {
    {"sendto", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(sendto)),
     METH_VARARGS | METH_KEYWORDS,
     "sendto(data, addr=None)\n--\n\nSend a datagram, or queue it if there is no room."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef datagram_transport_properties[] = {
    {"_address", get_address, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
// clang-format on

}  // namespace penstock::python
