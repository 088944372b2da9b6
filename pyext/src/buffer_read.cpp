// SPDX-License-Identifier: Apache-2.0
#include "buffer_read.hpp"

#include <algorithm>

namespace penstock::python {

namespace {

/// Copied between two reports of progress: what is not retained is freed meanwhile, so that a long
/// body is not held twice.
constexpr std::uint64_t kStep = 1024 * 1024;

std::uint64_t saturating_sum(std::uint64_t a, std::uint64_t b) noexcept {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

std::uint8_t* contents_of(PyObject* bytes) noexcept {
  return reinterpret_cast<std::uint8_t*>(PyBytes_AS_STRING(bytes));
}

void take_in_steps(ByteStream::Reading& reading, std::uint8_t* to, std::uint64_t count) {
  const WithoutGil released(reading);
  while (count != 0) {
    std::uint64_t const step = std::min(count, kStep);
    reading.copy(reading.position(), to, static_cast<std::size_t>(step));
    reading.consume(step);
    to += step;
    count -= step;
  }
}

}  // namespace

// Looking
// ------------------------------------------------------------------------------------------

/// The length of the line that `count` bytes begin with, newline included; 0 if they have none.
std::uint64_t BufferRead::line_length(ByteStream::Reading& reading, std::uint64_t count) const {
  if (skip_ >= count) return 0;
  static constexpr std::uint8_t kNewline[] = {'\n'};
  std::uint64_t const start = reading.position();
  std::uint64_t const end = start + count;
  std::uint64_t const from = start + skip_;
  std::uint64_t const near = std::min(end, from + kLong);
  std::uint64_t found = reading.find(kNewline[0], from, near);
  if (found == ByteStream::Reading::kNowhere && near != end) {
    const WithoutGil released(reading);
    found = reading.find(kNewline, near, end);  // Remembers how far: each look sees what is new.
  }
  return found == ByteStream::Reading::kNowhere ? 0 : found + 1 - start;
}

std::uint64_t BufferRead::next_look(ByteStream::Reading& reading,
                                    const ByteStream::Options& options) const noexcept {
  std::uint64_t const written = reading.written();
  std::uint64_t position = written + 1;
  if (want_ == Want::fill) {
    position = std::min(saturating_sum(reading.position(), limit_), options.content_length);
  }
  if (options.max_unread == 0) return position;
  reading.relieve();
  // Half of the bound early, so that the writer rarely has to wait for us.
  return std::min(position, written + std::max<std::uint64_t>(1, options.max_unread / 2));
}

BufferRead::Verdict BufferRead::look(ByteStream::Reading& reading,
                                     const ByteStream::Options& options) const {
  using End = ByteStream::End;
  const End end = reading.end();  // First: what came before it is then there.
  std::uint64_t const count = std::min(reading.available(), limit_);
  if (count != 0 && want_ == Want::line) {
    std::uint64_t const length = line_length(reading, count);
    if (length != 0) return {Verdict::take, length};
  }
  const bool is_any_enough = want_ == Want::now || want_ == Want::some;
  if (count == limit_ || (count != 0 && is_any_enough) || end == End::complete) {
    return {Verdict::take, count};
  }
  if (end != End::open) return {Verdict::fail, 0, end};
  if (want_ == Want::now) return {Verdict::take, 0};
  return {Verdict::wait, next_look(reading, options)};
}

// Taking
// -------------------------------------------------------------------------------------------

void take_into(ByteStream::Reading& reading, std::uint8_t* to, std::uint64_t count) {
  if (count >= kLong) {
    take_in_steps(reading, to, count);
  } else if (count != 0) {
    reading.copy(reading.position(), to, static_cast<std::size_t>(count));
    reading.consume(count);
  }
}

PyObject* take_bytes(ByteStream::Reading& reading, std::uint64_t count) {
  PyObject* const bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(count));
  if (bytes != nullptr) take_into(reading, contents_of(bytes), count);
  return bytes;
}

PyObject* copy_bytes(ByteStream::Reading& reading, std::uint64_t count) {
  PyObject* const bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(count));
  if (bytes == nullptr || count == 0) return bytes;
  const auto size = static_cast<std::size_t>(count);
  if (count < kLong) {
    reading.copy(reading.position(), contents_of(bytes), size);
  } else {
    const WithoutGil released(reading);
    reading.copy(reading.position(), contents_of(bytes), size);
  }
  return bytes;
}

}  // namespace penstock::python
