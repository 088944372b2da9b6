// SPDX-License-Identifier: Apache-2.0
#include "buffer_coroutines.hpp"

#include <optional>

#include "arguments.hpp"
#include "awaitable.hpp"
#include "buffer_errors.hpp"
#include "buffer_object.hpp"
#include "buffer_read.hpp"
#include "reader_claim.hpp"

namespace penstock::python {

namespace {

WaitList& data_line(PyObject* source) { return as_buffer(source).stream->data_waiters(); }

/// Looks until the read is satisfied, or (once in line) woken in time to look again.
bool attempt(const AwaitableObject& self, const BufferRead& read, bool in_line, bool is_iteration,
             PyObject** result) {
  if (!may_read(as_buffer(self.source))) return true;
  ByteStream& stream = *as_buffer(self.source).stream;
  std::uint64_t wanted = UINT64_MAX;
  for (;;) {
    std::optional<HeldReading> reading(std::in_place, stream);
    const auto verdict = read.look(**reading, stream.options());
    switch (verdict.kind) {
      case BufferRead::Verdict::take:
        if (verdict.value != 0 || !is_iteration) {
          *result = take_bytes(**reading, verdict.value);
        } else {
          PyErr_SetNone(PyExc_StopAsyncIteration);
        }
        return true;
      case BufferRead::Verdict::fail: {
        const EarlyEnd early(**reading, verdict.end);
        reading.reset();
        raise_early_end(*self.state, stream, early);
        return true;
      }
      case BufferRead::Verdict::wait:
        // An earlier wake-up than needed is harmless, and the end wakes everybody.
        if (!in_line || verdict.value >= wanted) return false;
        wanted = verdict.value;
        stream.want(wanted);
    }
  }
}

std::uint64_t limit_of(const AwaitableObject& self) noexcept {
  return self.argument < 0 ? BufferRead::kUnlimited : static_cast<std::uint64_t>(self.argument);
}

bool attempt_read(AwaitableObject& self, bool in_line, PyObject** result) {
  std::uint64_t const limit = limit_of(self);
  const Want want = want_of_read(*as_buffer(self.source).stream, limit);
  return attempt(self, {want, limit}, in_line, false, result);
}

bool attempt_read1(AwaitableObject& self, bool in_line, PyObject** result) {
  return attempt(self, {Want::some, limit_of(self)}, in_line, false, result);
}

bool attempt_line(AwaitableObject& self, bool in_line, PyObject** result) {
  return attempt(self, {Want::line, limit_of(self)}, in_line, false, result);
}

bool attempt_next(AwaitableObject& self, bool in_line, PyObject** result) {
  return attempt(self, {Want::line, BufferRead::kUnlimited}, in_line, true, result);
}

constexpr AwaitableOperation kRead{"PyBuffer.aread", data_line, attempt_read, nullptr, nullptr};
constexpr AwaitableOperation kRead1{"PyBuffer.aread1", data_line, attempt_read1, nullptr, nullptr};
constexpr AwaitableOperation kLine{"PyBuffer.areadline", data_line, attempt_line, nullptr, nullptr};
constexpr AwaitableOperation kNext{"PyBuffer.__anext__", data_line, attempt_next, nullptr, nullptr};

PyObject* sized(const AwaitableOperation& operation, PyObject* object, const Arguments& arguments) {
  std::uint64_t limit = 0;
  if (!only_limit(arguments, "size", limit)) return nullptr;
  // Unlimited is -1.
  return new_awaitable(*as_buffer(object).state, operation, object,
                       static_cast<std::int64_t>(limit));
}

}  // namespace

PyObject* buffer_aread(PyObject* object, PyObject* const* args, Py_ssize_t count,
                       PyObject* keywords) {
  return sized(kRead, object, {"aread", args, count, keywords});
}

PyObject* buffer_aread1(PyObject* object, PyObject* const* args, Py_ssize_t count,
                        PyObject* keywords) {
  return sized(kRead1, object, {"aread1", args, count, keywords});
}

PyObject* buffer_areadline(PyObject* object, PyObject* const* args, Py_ssize_t count,
                           PyObject* keywords) {
  return sized(kLine, object, {"areadline", args, count, keywords});
}

PyObject* buffer_anext(PyObject* object) {
  return new_awaitable(*as_buffer(object).state, kNext, object);
}

}  // namespace penstock::python
