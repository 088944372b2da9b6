// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "blocking.hpp"
#include "buffer_object.hpp"
#include "buffer_view.hpp"
#include "encode.hpp"
#include "functions.hpp"

namespace penstock::python {

namespace {

/// Bytes that live outside the stream, as a large Erlang binary does.
class Outside final : public wire::PinnedBytes {
 public:
  explicit Outside(std::span<const std::uint8_t> bytes)
      : PinnedBytes({static_cast<std::uint8_t*>(std::malloc(bytes.size())), bytes.size()}) {
    if (!bytes.empty()) {
      std::memcpy(const_cast<std::uint8_t*>(bytes_.data()), bytes.data(), bytes.size());
    }
  }
  ~Outside() override { std::free(const_cast<std::uint8_t*>(bytes_.data())); }
};

const char* name_of(Status status) noexcept {
  switch (status) {
    case Status::ok:
      return "ok";
    case Status::full:
      return "full";
    case Status::closed:
      return "closed";
    case Status::too_large:
      return "too_large";
    case Status::too_long:
      return "too_long";
    case Status::limit:
      return "limit";
    case Status::no_reader:
      return "no_reader";
    default:
      return "other";
  }
}

Status write(ByteStream& stream, std::span<const std::uint8_t> bytes, bool by_reference) {
  if (!by_reference || bytes.empty()) return stream.write(bytes);
  auto outside = Ref<wire::PinnedBytes>::steal(new Outside(bytes));
  return stream.write(outside);
}

/// As a writer that waits for room does; no interrupts, no deadline.
Status write_patiently(ByteStream& stream, std::span<const std::uint8_t> bytes, bool by_reference) {
  ThreadWaiter me;
  for (;;) {
    Status status = write(stream, bytes, by_reference);
    if (status != Status::full) return status;
    stream.space_waiters().add(me);
    stream.want_room(bytes.size());
    status = write(stream, bytes, by_reference);
    if (status == Status::full) status = stream.full_or_abandoned();
    if (status == Status::full) (void)me.park(kNoDeadline);
    (void)me.leave(stream.space_waiters());
    if (status != Status::full) return status;
  }
}

std::uint64_t number_or_unknown(long long number) noexcept {
  return number < 0 ? ByteStream::kUnknown : static_cast<std::uint64_t>(number);
}

PyObject* test_new_stream(PyObject* module, PyObject* args, PyObject* keywords) {
  long long content_length = -1;
  long long max_unread = 0;
  long long limit = -1;
  int retains = 1;
  static const char* names[] = {"content_length", "max_unread", "limit", "retains", nullptr};
  if (PyArg_ParseTupleAndKeywords(args, keywords, "|LLLp", const_cast<char**>(names),
                                  &content_length, &max_unread, &limit, &retains) == 0) {
    return nullptr;
  }
  Ref<ByteStream> stream =
      ByteStream::create({number_or_unknown(content_length), static_cast<std::uint64_t>(max_unread),
                          number_or_unknown(limit), retains != 0});
  return stream ? new_buffer(state_of(module), std::move(stream)) : PyErr_NoMemory();
}

/// _stream_write(buffer, data, by_reference=False, piece=0): in pieces of that size each of which
/// waits for room, or at once and without waiting.
PyObject* test_stream_write(PyObject* module, PyObject* args) {
  PyObject* buffer = nullptr;
  BufferView data;
  int by_reference = 0;
  Py_ssize_t piece = 0;
  if (PyArg_ParseTuple(args, "O!y*|pn", state_of(module).buffer_type, &buffer,
                       static_cast<Py_buffer*>(&data), &by_reference, &piece) == 0) {
    return nullptr;
  }
  ByteStream& stream = *as_buffer(buffer).stream;
  Status status = Status::ok;
  {
    const GilRelease released;
    std::span<const std::uint8_t> bytes = data.bytes();
    if (piece == 0) status = write(stream, bytes, by_reference != 0);
    while (piece != 0 && !bytes.empty() && status == Status::ok) {
      std::size_t const size = std::min(bytes.size(), static_cast<std::size_t>(piece));
      status = write_patiently(stream, bytes.first(size), by_reference != 0);
      bytes = bytes.subspan(size);
    }
  }
  return PyUnicode_FromString(name_of(status));
}

ByteStream* require_stream(PyObject* module, PyObject* object) {
  ByteStream* const stream = stream_of(state_of(module), object);
  if (stream == nullptr) PyErr_SetString(PyExc_TypeError, "expected a PyBuffer");
  return stream;
}

PyObject* test_stream_close(PyObject* module, PyObject* buffer) {
  ByteStream* const stream = require_stream(module, buffer);
  if (stream == nullptr) return nullptr;
  stream->close();
  Py_RETURN_NONE;
}

PyObject* test_stream_abort(PyObject* module, PyObject* args) {
  PyObject* buffer = nullptr;
  PyObject* reason = nullptr;
  if (PyArg_ParseTuple(args, "O!|O", state_of(module).buffer_type, &buffer, &reason) == 0) {
    return nullptr;
  }
  std::unique_ptr<Message> message;
  if (reason != nullptr) {
    message = std::make_unique<Message>();
    if (!encode(state_of(module), *message, reason)) return nullptr;
  }
  (void)as_buffer(buffer).stream->abort(std::move(message));
  Py_RETURN_NONE;
}

PyObject* test_stream_info(PyObject* module, PyObject* buffer) {
  ByteStream* const stream = require_stream(module, buffer);
  if (stream == nullptr) return nullptr;
  return Py_BuildValue(
      "{s:K,s:K,s:I,s:I}", "written", static_cast<unsigned long long>(stream->written()), "pinned",
      static_cast<unsigned long long>(stream->pinned()), "readers_waiting",
      stream->data_waiters().waiting(), "writers_waiting", stream->space_waiters().waiting());
}

}  // namespace

// clang-format off
PyMethodDef test_stream_functions[] = {
    {"_new_stream", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(test_new_stream)), METH_VARARGS | METH_KEYWORDS,
     "A PyBuffer with options. Tests only."},
    {"_stream_write", test_stream_write, METH_VARARGS, "Writes without the GIL; the status. Tests only."},
    {"_stream_close", test_stream_close, METH_O, "As the writer does. Tests only."},
    {"_stream_abort", test_stream_abort, METH_VARARGS, "As the writer does. Tests only."},
    {"_stream_info", test_stream_info, METH_O, "Figures. Tests only."},
    {nullptr, nullptr, 0, nullptr},
};
// clang-format on

}  // namespace penstock::python
