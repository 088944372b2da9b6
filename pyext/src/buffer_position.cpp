// SPDX-License-Identifier: Apache-2.0
#include "buffer_position.hpp"

#include <algorithm>
#include <optional>
#include <span>

#include "arguments.hpp"
#include "buffer_object.hpp"
#include "buffer_read.hpp"
#include "buffer_view.hpp"
#include "reader_claim.hpp"

namespace penstock::python {

namespace {

using Reading = ByteStream::Reading;

bool require(const char* function, const char* name, PyObject* object) {
  if (object != nullptr) return true;
  PyErr_Format(PyExc_TypeError, "%s() missing required argument: '%s'", function, name);
  return false;
}

// Seeking
// ----------------------------------------------------------------------------------------

enum class Whence : std::uint8_t { start, here, end };

/// Offsets that no position can have are beyond all of them.
bool parse_offset(PyObject* object, std::int64_t& offset) {
  const PyRef index = PyRef::steal(PyNumber_Index(object));
  if (!index) return false;
  int overflow = 0;
  offset = PyLong_AsLongLongAndOverflow(index.get(), &overflow);
  if (overflow != 0) offset = overflow < 0 ? INT64_MIN : INT64_MAX;
  return overflow != 0 || offset != -1 || PyErr_Occurred() == nullptr;
}

bool parse_whence(PyObject* object, Whence& whence) {
  if (object == nullptr || object == Py_None) return true;
  const Py_ssize_t number = PyNumber_AsSsize_t(object, nullptr);
  if (number == -1 && PyErr_Occurred() != nullptr) return false;
  if (number < 0 || number > 2) {
    PyErr_Format(PyExc_ValueError, "whence must be 0, 1 or 2, not %zd", number);
    return false;
  }
  whence = static_cast<Whence>(number);
  return true;
}

/// The position that all bytes end at, if that can be said: of what is complete, or announced and
/// still coming.
std::optional<std::uint64_t> known_end(Reading& reading, const ByteStream::Options& options) {
  switch (reading.end()) {
    case ByteStream::End::complete:
      return reading.written();
    case ByteStream::End::open:
      if (options.content_length != ByteStream::kUnknown) return options.content_length;
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

/// What seek() did, or why not.
struct Outcome {
  bool is_done = false;
  bool has_origin = true;
  std::uint64_t target = 0;  ///< If done.
  std::uint64_t first = 0;   ///< Where one could go instead.
  std::uint64_t last = 0;
};

Outcome try_seek(ByteStream& stream, std::int64_t offset, Whence whence) {
  HeldReading reading(stream);
  Outcome outcome;
  std::optional<std::uint64_t> origin = 0;
  if (whence == Whence::here) origin = reading->position();
  if (whence == Whence::end) origin = known_end(*reading, stream.options());
  outcome.first = stream.options().retains ? reading->base() : reading->position();
  outcome.last = reading->written();
  outcome.has_origin = origin.has_value();
  if (!origin) return outcome;
  // Wraps only if a target below 0, or beyond everything, is meant: above `last` either way.
  outcome.target = *origin + static_cast<std::uint64_t>(offset);
  outcome.is_done = outcome.target >= outcome.first && outcome.target <= outcome.last;
  if (!outcome.is_done) return outcome;
  if (outcome.target >= reading->position()) {
    reading->consume(outcome.target - reading->position());
  } else {
    reading->seek(outcome.target);
  }
  return outcome;
}

// Finding
// -----------------------------------------------------------------------------------------

/// What find() looks for: a byte, or the bytes of an argument.
class Needle {
 public:
  bool open(PyObject* object) {
    if (PyObject_CheckBuffer(object) != 0) {
      if (!view_.get(object, PyBUF_SIMPLE)) return false;
      bytes_ = view_.bytes();
      return true;
    }
    if (PyIndex_Check(object) == 0) {
      PyErr_Format(PyExc_TypeError, "argument should be integer or bytes-like object, not '%.200s'",
                   Py_TYPE(object)->tp_name);
      return false;
    }
    const Py_ssize_t value = PyNumber_AsSsize_t(object, nullptr);
    if (value == -1 && PyErr_Occurred() != nullptr) return false;
    if (value < 0 || value > 255) {
      PyErr_SetString(PyExc_ValueError, "byte must be in range(0, 256)");
      return false;
    }
    byte_ = static_cast<std::uint8_t>(value);
    bytes_ = {&byte_, 1};
    return true;
  }
  [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept { return bytes_; }

 private:
  BufferView view_;
  std::uint8_t byte_ = 0;
  std::span<const std::uint8_t> bytes_;
};

/// As a slice's: clipped to what a Py_ssize_t holds.
bool parse_place(PyObject* object, Py_ssize_t& place) {
  if (object == nullptr || object == Py_None) return true;
  place = PyNumber_AsSsize_t(object, nullptr);
  return place != -1 || PyErr_Occurred() == nullptr;
}

std::uint64_t place_in(Py_ssize_t place, std::uint64_t count) noexcept {
  if (place >= 0) return static_cast<std::uint64_t>(place);
  std::uint64_t const from_end = std::uint64_t{0} - static_cast<std::uint64_t>(place);
  return from_end > count ? 0 : count - from_end;
}

/// Relative to the read position; kNowhere.
std::uint64_t find_in(Reading& reading, std::span<const std::uint8_t> needle, Py_ssize_t start,
                      Py_ssize_t end) {
  std::uint64_t const count = reading.available();
  std::uint64_t const from = place_in(start, count);
  std::uint64_t const to = std::min(place_in(end, count), count);
  if (from > to || to - from < needle.size()) return Reading::kNowhere;
  std::uint64_t const position = reading.position();
  const auto search = [&] {
    return needle.size() == 1 ? reading.find(needle[0], position + from, position + to)
                              : reading.find(needle, position + from, position + to);
  };
  std::uint64_t found = Reading::kNowhere;
  if (to - from < kLong) {
    found = search();
  } else {
    const WithoutGil released(reading);
    found = search();
  }
  return found == Reading::kNowhere ? found : found - position;
}

}  // namespace

PyObject* buffer_seek(PyObject* object, PyObject* const* args, Py_ssize_t count,
                      PyObject* keywords) {
  PyObject* offset_object = nullptr;
  PyObject* whence_object = nullptr;
  std::int64_t offset = 0;
  Whence whence = Whence::start;
  if (!assign({"seek", args, count, keywords}, 2,
              {{"offset", &offset_object}, {"whence", &whence_object}}) ||
      !require("seek", "offset", offset_object) || !parse_offset(offset_object, offset) ||
      !parse_whence(whence_object, whence)) {
    return nullptr;
  }
  if (!may_read(as_buffer(object))) return nullptr;
  const Outcome outcome = try_seek(*as_buffer(object).stream, offset, whence);
  if (outcome.is_done) return PyLong_FromUnsignedLongLong(outcome.target);
  if (!outcome.has_origin) {
    PyErr_SetString(PyExc_ValueError, "cannot seek from the end before it is known");
  } else {
    PyErr_Format(PyExc_ValueError, "can seek to positions %llu to %llu only",
                 static_cast<unsigned long long>(outcome.first),
                 static_cast<unsigned long long>(outcome.last));
  }
  return nullptr;
}

PyObject* buffer_tell(PyObject* object, PyObject*) {
  return PyLong_FromUnsignedLongLong(as_buffer(object).stream->progress().read);
}

PyObject* buffer_find(PyObject* object, PyObject* const* args, Py_ssize_t count,
                      PyObject* keywords) {
  PyObject* sub = nullptr;
  PyObject* start_object = nullptr;
  PyObject* end_object = nullptr;
  Py_ssize_t start = 0;
  Py_ssize_t end = PY_SSIZE_T_MAX;
  Needle needle;
  if (!assign({"find", args, count, keywords}, 3,
              {{"sub", &sub}, {"start", &start_object}, {"end", &end_object}}) ||
      !require("find", "sub", sub) || !parse_place(start_object, start) ||
      !parse_place(end_object, end) || !needle.open(sub)) {
    return nullptr;
  }
  if (!may_read(as_buffer(object))) return nullptr;
  std::uint64_t found = 0;
  {
    HeldReading reading(*as_buffer(object).stream);
    found = find_in(*reading, needle.bytes(), start, end);
  }
  return found == Reading::kNowhere ? PyLong_FromLong(-1) : PyLong_FromUnsignedLongLong(found);
}

}  // namespace penstock::python
