// SPDX-License-Identifier: Apache-2.0
#include "byte_channel.hpp"

#include "byte_receiving.hpp"
#include "byte_sending.hpp"
#include "channel_base.hpp"
#include "types.hpp"

namespace penstock::python {

namespace {

PyObject* byte_channel_new(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  return new_channel_object(type, args, keywords, Channel::Content::bytes);
}

// clang-format off
PyMethodDef methods[] = {
    {"receive_bytes", method(byte_receive), METH_FASTCALL | METH_KEYWORDS,
     "receive_bytes(timeout=None, *, timeout_ms=None)\n--\n\n"
     "Take the oldest message; block until there is one, without the GIL.\n\n"
     "timeout is in seconds, timeout_ms in milliseconds (negative: none). Raises ByteChannelClosed\n"
     "once the channel is closed and drained, TimeoutError."},
    {"try_receive_bytes", byte_try_receive, METH_NOARGS,
     "try_receive_bytes()\n--\n\n"
     "Take the oldest message, or return None if there is none. Never blocks; raises\n"
     "ByteChannelClosed."},
    {"receive_many", method(byte_receive_many), METH_FASTCALL | METH_KEYWORDS,
     "receive_many(max_count=64, timeout=None, *, timeout_ms=None)\n--\n\n"
     "Block for one message as receive_bytes() does, then take what else is queued, max_count\n"
     "messages at most. Return a list of at least one."},
    {"receive_view", method(byte_receive_view), METH_FASTCALL | METH_KEYWORDS,
     "receive_view(timeout=None, *, timeout_ms=None, in_place=False)\n--\n\n"
     "As receive_bytes(), but return a ByteView, which does not copy large messages.\n\n"
     "With in_place, one of a channel between processes that has 8 KiB or more is not copied,\n"
     "either: senders do not get its room back, nor any behind it, until the view is released."},
    {"async_receive_bytes", byte_async_receive, METH_NOARGS,
     "async_receive_bytes()\n--\n\n"
     "Take the oldest message; a coroutine that waits on the running asyncio loop.\n\n"
     "Cancelling it loses no message. Raises ByteChannelClosed."},
    {"async_receive_view", method(byte_async_receive_view), METH_FASTCALL | METH_KEYWORDS,
     "async_receive_view(*, in_place=False)\n--\n\n"
     "As async_receive_bytes(), but return a ByteView, as receive_view() does."},
    {"send_bytes", method(byte_send), METH_FASTCALL | METH_KEYWORDS,
     "send_bytes(data, timeout=None)\n--\n\n"
     "Queue one message and return True; block while the channel is full, without the GIL.\n\n"
     "data is bytes, or bytes-like and C-contiguous; bytes of 8 KiB or more are not copied. timeout\n"
     "is in seconds. Raises ByteChannelClosed, TimeoutError, ValueError if data is larger than\n"
     "max_size, TypeError."},
    {"try_send_bytes", byte_try_send, METH_O,
     "try_send_bytes(data, /)\n--\n\n"
     "Queue one message and return True, or False if the channel is full. Never blocks."},
    {"send_many", method(byte_send_many), METH_FASTCALL | METH_KEYWORDS,
     "send_many(chunks, timeout=None)\n--\n\n"
     "Queue each element of an iterable as send_bytes() does, and return how many there were.\n\n"
     "timeout is for all together. Whatever exception ends it early (of this channel or of chunks)\n"
     "has an attribute sent: the number of messages queued before, which stay queued."},
    {"close", channel_close, METH_NOARGS,
     "close()\n--\n\nRefuse further messages and wake everybody who waits. Idempotent."},
    {"info", channel_info, METH_NOARGS,
     "info()\n--\n\n"
     "Return {'size': bytes queued, 'max_size': bytes or 0, 'closed': bool, 'pinned': bytes of\n"
     "large binaries that queued messages and views keep alive}."},
    {"__enter__", channel_enter, METH_NOARGS, nullptr},
    {"__exit__", method(channel_exit), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(byte_channel_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(channel_dealloc)},
    {Py_tp_repr, reinterpret_cast<void*>(channel_repr)},
    {Py_tp_hash, reinterpret_cast<void*>(channel_hash)},
    {Py_tp_richcompare, reinterpret_cast<void*>(channel_compare)},
    {Py_tp_iter, reinterpret_cast<void*>(byte_iter)},
    {Py_am_aiter, reinterpret_cast<void*>(channel_self)},
    {Py_am_anext, reinterpret_cast<void*>(byte_anext)},
    {Py_tp_methods, methods},
    {Py_tp_getset, channel_properties},
    {Py_tp_members, channel_members},
    {Py_tp_doc, const_cast<char*>(
        "ByteChannel(ref)\n--\n\n"
        "One queue of bytes messages between Erlang and Python; safe to share between threads and\n"
        "loops.\n\n"
        "Iterating takes messages until the channel is closed and drained.")},
    {0, nullptr},
};
// clang-format on

PyType_Spec spec = {"erlang.ByteChannel", sizeof(ChannelObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};

}  // namespace

bool add_byte_channel_type(PyObject* module, ModuleState& state) {
  return add_type(module, spec, state.byte_channel_type);
}

}  // namespace penstock::python
