// SPDX-License-Identifier: Apache-2.0
#include "channel_object.hpp"

#include "channel_base.hpp"
#include "channel_receiving.hpp"
#include "channel_sending.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

PyObject* channel_new(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  return new_channel_object(type, args, keywords, Channel::Content::terms);
}

// clang-format off
PyMethodDef methods[] = {
    {"receive", method(channel_receive),
     METH_FASTCALL | METH_KEYWORDS,
     "receive(timeout=None, *, timeout_ms=None)\n--\n\n"
     "Take the oldest message; block until there is one, without the GIL.\n\n"
     "timeout is in seconds, timeout_ms in milliseconds (negative: none). Raises ChannelClosed once\n"
     "the channel is closed and drained, TimeoutError."},
    {"try_receive", channel_try_receive, METH_NOARGS,
     "try_receive()\n--\n\n"
     "Take the oldest message, or return None if there is none. Never blocks; raises ChannelClosed."},
    {"async_receive", channel_async_receive, METH_NOARGS,
     "async_receive()\n--\n\n"
     "Take the oldest message; a coroutine that waits on the running asyncio loop.\n\n"
     "Cancelling it loses no message. Raises ChannelClosed."},
    {"send", method(channel_send),
     METH_FASTCALL | METH_KEYWORDS,
     "send(term, timeout=None)\n--\n\n"
     "Queue a term; block while the channel is full, without the GIL.\n\n"
     "timeout is in seconds. Raises ChannelClosed, TimeoutError, ValueError if the term is larger\n"
     "than max_size, TypeError if it cannot be converted."},
    {"try_send", channel_try_send, METH_O,
     "try_send(term, /)\n--\n\n"
     "Queue a term and return True, or False if the channel is full. Never blocks."},
    {"close", channel_close, METH_NOARGS,
     "close()\n--\n\nRefuse further messages and wake everybody who waits. Idempotent."},
    {"info", channel_info, METH_NOARGS,
     "info()\n--\n\nReturn {'size': bytes queued, 'max_size': bytes or 0, 'closed': bool}."},
    {"__enter__", channel_enter, METH_NOARGS, nullptr},
    {"__exit__", method(channel_exit), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(channel_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(channel_dealloc)},
    {Py_tp_repr, reinterpret_cast<void*>(channel_repr)},
    {Py_tp_hash, reinterpret_cast<void*>(channel_hash)},
    {Py_tp_richcompare, reinterpret_cast<void*>(channel_compare)},
    {Py_tp_iter, reinterpret_cast<void*>(channel_iter)},
    {Py_am_aiter, reinterpret_cast<void*>(channel_self)},
    {Py_am_anext, reinterpret_cast<void*>(channel_anext)},
    {Py_tp_methods, methods},
    {Py_tp_getset, channel_properties},
    {Py_tp_members, channel_members},
    {Py_tp_doc, const_cast<char*>(
        "Channel(ref)\n--\n\n"
        "One queue of messages between Erlang and Python; safe to share between threads and loops.\n\n"
        "Iterating takes messages until the channel is closed and drained.")},
    {0, nullptr},
};
// clang-format on

PyType_Spec spec = {"erlang.Channel", sizeof(ChannelObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};

}  // namespace

bool add_channel_type(PyObject* module, ModuleState& state) {
  return add_type(module, spec, state.channel_type);
}

}  // namespace penstock::python
