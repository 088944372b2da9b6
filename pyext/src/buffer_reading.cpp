// SPDX-License-Identifier: Apache-2.0
#include "buffer_reading.hpp"

#include <algorithm>
#include <cstring>

#include "arguments.hpp"
#include "blocking.hpp"
#include "buffer_errors.hpp"
#include "buffer_object.hpp"
#include "buffer_read.hpp"
#include "buffer_view.hpp"
#include "reader_claim.hpp"
#include "short_bytes.hpp"

namespace penstock::python {

namespace {

/// What peek() shows unless told otherwise: as much as io's buffers hold.
constexpr std::uint64_t kPeek = 8192;

/// Waits until `read` is satisfied. `reading` then holds the role, and `count` bytes are to be
/// taken. False: an exception is set.
bool satisfy(const BufferObject& self, const BufferRead& read, std::optional<HeldReading>& reading,
             std::uint64_t& count) {
  if (!may_read(self)) return false;
  ByteStream& stream = *self.stream;
  for (;;) {
    reading.emplace(stream);
    const auto verdict = read.look(**reading, stream.options());
    if (verdict.kind == BufferRead::Verdict::take) {
      count = verdict.value;
      return true;
    }
    if (verdict.kind == BufferRead::Verdict::fail) {
      const EarlyEnd early(**reading, verdict.end);
      reading.reset();
      raise_early_end(*self.state, stream, early);
      return false;
    }
    reading.reset();
    Status status = Status::empty;
    if (!block(*self.state, Status::empty, status,
               [&](ThreadWaiter& waiter, ThreadWaiter::Wake* woken) {
                 return stream.await(verdict.value, kNoDeadline, waiter, woken);
               })) {
      return false;
    }
  }
}

PyObject* read_bytes(const BufferObject& self, const BufferRead& read) {
  std::optional<HeldReading> reading;
  std::uint64_t count = 0;
  if (!satisfy(self, read, reading, count)) return nullptr;
  return take_bytes(**reading, count);
}

/// The line that `bytes` begin with, if they hold its end.
[[gnu::always_inline]] inline std::span<const std::uint8_t> line_of(
    std::span<const std::uint8_t> bytes, std::uint64_t limit) {
  const auto count =
      static_cast<std::size_t>(std::min({std::uint64_t{bytes.size()}, limit, kLong}));
  const void* const newline = count != 0 ? std::memchr(bytes.data(), '\n', count) : nullptr;
  if (newline == nullptr) return {};
  return {bytes.data(), static_cast<const std::uint8_t*>(newline) + 1};
}

[[gnu::always_inline]] inline PyObject* take_seen(ByteStream& stream,
                                                  std::span<const std::uint8_t> line) {
  // The next lines: the processor's own prefetching stops at the end of each page.
  constexpr std::size_t kAhead = 512;
  __builtin_prefetch(line.data() + line.size() + kAhead);
  PyObject* const bytes = short_bytes_of(line);
  if (bytes != nullptr) stream.consume_seen(line.size());
  return bytes;
}

/// A line that does not end in what had been seen; b'' at the end.
[[gnu::noinline]] PyObject* look_for_line(const BufferObject& self, std::uint64_t limit) {
  if (!may_read(self)) return nullptr;
  std::span<const std::uint8_t> line;
  {
    HeldReading reading(*self.stream);
    line = line_of(reading->here(), limit);
  }
  // As long as nobody else gets the GIL, seen() is what here() was.
  if (!line.empty()) return take_seen(*self.stream, line);
  return read_bytes(self, {Want::line, limit});
}

/// The next line, if it ends in what has been seen: that needs no Reading.
[[gnu::always_inline]] inline std::span<const std::uint8_t> seen_line(const BufferObject& self,
                                                                      std::uint64_t limit) {
  if (!self.is_reader || self.stream->is_being_read()) [[unlikely]]
    return {};
  return line_of(self.stream->seen(), limit);
}

/// Writable contiguous memory of an argument.
bool open_target(const char* function, PyObject* object, BufferView& target) {
  if (target.get(object, PyBUF_WRITABLE)) return true;
  PyErr_Format(PyExc_TypeError, "%s() argument must be read-write bytes-like object, not %.200s",
               function, Py_TYPE(object)->tp_name);
  return false;
}

PyObject* read_into(const BufferObject& self, const BufferView& target, Want want) {
  const auto memory = target.bytes();
  std::optional<HeldReading> reading;
  std::uint64_t count = 0;
  if (!satisfy(self, {want, memory.size()}, reading, count)) return nullptr;
  take_into(**reading, memory.data(), count);
  return PyLong_FromUnsignedLongLong(count);
}

/// The lines of `bytes`, each with its newline.
PyObject* split_lines(PyObject* bytes) {
  PyRef lines = PyRef::steal(PyList_New(0));
  if (!lines) return nullptr;
  const auto* at = reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(bytes));
  const std::uint8_t* const end = at + PyBytes_GET_SIZE(bytes);
  while (at != end) {
    const void* const newline = std::memchr(at, '\n', static_cast<std::size_t>(end - at));
    const std::uint8_t* const next =
        newline != nullptr ? static_cast<const std::uint8_t*>(newline) + 1 : end;
    const PyRef line = PyRef::steal(short_bytes_of({at, next}));
    if (!line || PyList_Append(lines.get(), line.get()) != 0) return nullptr;
    at = next;
  }
  return lines.take();
}

}  // namespace

PyObject* buffer_read(PyObject* object, PyObject* const* args, Py_ssize_t count,
                      PyObject* keywords) {
  const BufferObject& self = as_buffer(object);
  std::uint64_t limit = 0;
  if (!only_limit({"read", args, count, keywords}, "size", limit)) return nullptr;
  return read_bytes(self, {want_of_read(*self.stream, limit), limit});
}

PyObject* buffer_read1(PyObject* object, PyObject* const* args, Py_ssize_t count,
                       PyObject* keywords) {
  std::uint64_t limit = 0;
  if (!only_limit({"read1", args, count, keywords}, "size", limit)) return nullptr;
  return read_bytes(as_buffer(object), {Want::some, limit});
}

PyObject* buffer_read_nonblock(PyObject* object, PyObject* const* args, Py_ssize_t count,
                               PyObject* keywords) {
  std::uint64_t limit = 0;
  if (!only_limit({"read_nonblock", args, count, keywords}, "size", limit)) return nullptr;
  return read_bytes(as_buffer(object), {Want::now, limit});
}

PyObject* buffer_readall(PyObject* object, PyObject*) {
  return read_bytes(as_buffer(object), {Want::fill, BufferRead::kUnlimited});
}

PyObject* buffer_readinto(PyObject* object, PyObject* memory) {
  const BufferObject& self = as_buffer(object);
  BufferView target;
  if (!open_target("readinto", memory, target)) return nullptr;
  return read_into(self, target, want_of_read(*self.stream, target.bytes().size()));
}

PyObject* buffer_readinto1(PyObject* object, PyObject* memory) {
  BufferView target;
  if (!open_target("readinto1", memory, target)) return nullptr;
  return read_into(as_buffer(object), target, Want::some);
}

namespace {

/// The next line, of at most `limit` bytes; b'' at the end.
[[gnu::always_inline]] inline PyObject* next_line(const BufferObject& self, std::uint64_t limit) {
  const auto line = seen_line(self, limit);
  return line.empty() ? look_for_line(self, limit) : take_seen(*self.stream, line);
}

[[gnu::noinline]] PyObject* limited_line(const BufferObject& self, const Arguments& arguments) {
  std::uint64_t limit = BufferRead::kUnlimited;
  if (!only_limit(arguments, "size", limit)) return nullptr;
  return next_line(self, limit);
}

}  // namespace

PyObject* buffer_readline(PyObject* object, PyObject* const* args, Py_ssize_t count) {
  const BufferObject& self = as_buffer(object);
  if (count != 0) return limited_line(self, {"readline", args, count, nullptr});
  return next_line(self, BufferRead::kUnlimited);
}

PyObject* buffer_next(PyObject* object) {
  const BufferObject& self = as_buffer(object);
  const auto seen = seen_line(self, BufferRead::kUnlimited);
  if (!seen.empty()) [[likely]]
    return take_seen(*self.stream, seen);
  PyRef line = PyRef::steal(look_for_line(self, BufferRead::kUnlimited));
  return line && PyBytes_GET_SIZE(line.get()) != 0 ? line.take() : nullptr;
}

PyObject* buffer_readlines(PyObject* object, PyObject* const* args, Py_ssize_t count,
                           PyObject* keywords) {
  std::uint64_t hint = 0;
  if (!only_limit({"readlines", args, count, keywords}, "hint", hint)) return nullptr;
  // The lines until `hint` bytes are reached end with the first newline that is not before.
  const bool is_all = hint == 0 || hint == BufferRead::kUnlimited;
  const BufferRead read(is_all ? Want::fill : Want::line, BufferRead::kUnlimited,
                        is_all ? 0 : hint - 1);
  const PyRef bytes = PyRef::steal(read_bytes(as_buffer(object), read));
  return bytes ? split_lines(bytes.get()) : nullptr;
}

PyObject* buffer_peek(PyObject* object, PyObject* const* args, Py_ssize_t count,
                      PyObject* keywords) {
  std::uint64_t limit = 0;
  if (!only_limit({"peek", args, count, keywords}, "size", limit)) return nullptr;
  const BufferRead read(Want::now, limit == 0 || limit == BufferRead::kUnlimited ? kPeek : limit);
  std::optional<HeldReading> reading;
  std::uint64_t there = 0;
  if (!satisfy(as_buffer(object), read, reading, there)) return nullptr;
  return copy_bytes(**reading, there);
}

PyObject* buffer_at_eof(PyObject* object, PyObject*) {
  const BufferObject& self = as_buffer(object);
  if (!may_read(self)) return nullptr;
  std::optional<HeldReading> reading(std::in_place, *self.stream);
  const ByteStream::End end = (*reading)->end();
  if (end == ByteStream::End::open || (*reading)->available() != 0) Py_RETURN_FALSE;
  if (end == ByteStream::End::complete) Py_RETURN_TRUE;
  const EarlyEnd early(**reading, end);
  reading.reset();
  raise_early_end(*self.state, *self.stream, early);
  return nullptr;
}

}  // namespace penstock::python
