// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

/// The methods of `erlang._native.LoopCore`, as asyncio.AbstractEventLoop has them.
///
/// Threads: with the GIL; the loop's, but for call_soon_threadsafe.
namespace penstock::python {

PyObject* loop_call_soon(PyObject* self, PyObject* const* args, Py_ssize_t count,
                         PyObject* keywords);
PyObject* loop_call_soon_threadsafe(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                    PyObject* keywords);
PyObject* loop_call_later(PyObject* self, PyObject* const* args, Py_ssize_t count,
                          PyObject* keywords);
PyObject* loop_call_at(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords);
PyObject* loop_add_callback(PyObject* self, PyObject* handle);
PyObject* loop_create_task(PyObject* self, PyObject* const* args, Py_ssize_t count,
                           PyObject* keywords);
PyObject* loop_create_future(PyObject* self, PyObject*);

// The public ones refuse descriptors of transports, the others are for transports.
PyObject* loop_add_reader(PyObject* self, PyObject* const* args, Py_ssize_t count);
PyObject* loop_add_writer(PyObject* self, PyObject* const* args, Py_ssize_t count);
PyObject* loop_remove_reader(PyObject* self, PyObject* file);
PyObject* loop_remove_writer(PyObject* self, PyObject* file);
PyObject* loop_add_transport_reader(PyObject* self, PyObject* const* args, Py_ssize_t count);
PyObject* loop_add_transport_writer(PyObject* self, PyObject* const* args, Py_ssize_t count);
PyObject* loop_remove_transport_reader(PyObject* self, PyObject* file);
PyObject* loop_remove_transport_writer(PyObject* self, PyObject* file);
PyObject* loop_interest(PyObject* self, PyObject* file);
PyObject* loop_watched(PyObject* self, PyObject*);

// Coroutines.
PyObject* loop_sock_recv(PyObject* self, PyObject* const* args, Py_ssize_t count,
                         PyObject* keywords);
PyObject* loop_sock_recv_into(PyObject* self, PyObject* const* args, Py_ssize_t count,
                              PyObject* keywords);
PyObject* loop_sock_recvfrom(PyObject* self, PyObject* const* args, Py_ssize_t count,
                             PyObject* keywords);
PyObject* loop_sock_recvfrom_into(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                  PyObject* keywords);
PyObject* loop_sock_sendall(PyObject* self, PyObject* const* args, Py_ssize_t count,
                            PyObject* keywords);
PyObject* loop_sock_sendto(PyObject* self, PyObject* const* args, Py_ssize_t count,
                           PyObject* keywords);
PyObject* loop_sock_accept(PyObject* self, PyObject* const* args, Py_ssize_t count,
                           PyObject* keywords);

}  // namespace penstock::python
