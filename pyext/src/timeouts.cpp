// SPDX-License-Identifier: Apache-2.0
#include "timeouts.hpp"

#include <cmath>

#include "arguments.hpp"
#include "penstock/shim.hpp"

namespace penstock::python {

namespace {

/// Longer timeouts (and inf) are no timeouts: 2^62 ns are 146 years.
constexpr double kLongest_ns = 4.6e18;

bool deadline_after(double timeout_ns, std::int64_t& deadline_ns) {
  deadline_ns = timeout_ns < kLongest_ns
                    ? now_ns() + static_cast<std::int64_t>(std::ceil(timeout_ns))
                    : kNoDeadline;
  return true;
}

}  // namespace

bool deadline_of_seconds(PyObject* timeout, std::int64_t& deadline_ns) {
  if (timeout == nullptr || timeout == Py_None) return true;
  const double seconds = PyFloat_AsDouble(timeout);
  if (seconds == -1.0 && PyErr_Occurred() != nullptr) return false;
  if (!(seconds >= 0)) {  // Also true of nan.
    PyErr_SetString(PyExc_ValueError, "timeout must be a non-negative number");
    return false;
  }
  return deadline_after(seconds * 1e9, deadline_ns);
}

namespace {

bool deadline_of_milliseconds(PyObject* timeout_ms, std::int64_t& deadline_ns) {
  if (timeout_ms == nullptr || timeout_ms == Py_None) return true;
  const double milliseconds = PyFloat_AsDouble(timeout_ms);
  if (milliseconds == -1.0 && PyErr_Occurred() != nullptr) return false;
  if (std::isnan(milliseconds)) {
    PyErr_SetString(PyExc_ValueError, "timeout_ms must be a number");
    return false;
  }
  return milliseconds < 0 || deadline_after(milliseconds * 1e6, deadline_ns);
}

bool flag_of(PyObject* given, bool& flag) {
  const int is_true = given == nullptr ? 0 : PyObject_IsTrue(given);
  flag = is_true == 1;
  return is_true >= 0;
}

/// The deadline of one of two spellings of a timeout, each nullptr if not given.
bool deadline_of(const char* function, PyObject* timeout, PyObject* timeout_ms,
                 std::int64_t& deadline_ns) {
  const auto is_given = [](PyObject* value) { return value != nullptr && value != Py_None; };
  if (is_given(timeout) && is_given(timeout_ms)) {
    PyErr_Format(PyExc_TypeError, "%s() takes timeout or timeout_ms, not both", function);
    return false;
  }
  return deadline_of_seconds(timeout, deadline_ns) &&
         deadline_of_milliseconds(timeout_ms, deadline_ns);
}

}  // namespace

bool parse_receive(const char* function, PyObject* const* args, Py_ssize_t count,
                   PyObject* keywords, std::int64_t& deadline_ns) {
  if (count == 0 && keywords == nullptr) return true;
  PyObject* timeout = nullptr;
  PyObject* timeout_ms = nullptr;
  return assign({function, args, count, keywords}, 1,
                {{"timeout", &timeout}, {"timeout_ms", &timeout_ms}}) &&
         deadline_of(function, timeout, timeout_ms, deadline_ns);
}

bool parse_receive_view(const char* function, PyObject* const* args, Py_ssize_t count,
                        PyObject* keywords, bool& in_place, std::int64_t& deadline_ns) {
  if (count == 0 && keywords == nullptr) return true;
  PyObject* timeout = nullptr;
  PyObject* timeout_ms = nullptr;
  PyObject* given = nullptr;
  return assign({function, args, count, keywords}, 1,
                {{"timeout", &timeout}, {"timeout_ms", &timeout_ms}, {"in_place", &given}}) &&
         flag_of(given, in_place) && deadline_of(function, timeout, timeout_ms, deadline_ns);
}

bool parse_async_receive_view(const char* function, PyObject* const* args, Py_ssize_t count,
                              PyObject* keywords, bool& in_place) {
  PyObject* given = nullptr;
  return assign({function, args, count, keywords}, 0, {{"in_place", &given}}) &&
         flag_of(given, in_place);
}

bool parse_receive_many(const char* function, PyObject* const* args, Py_ssize_t count,
                        PyObject* keywords, Py_ssize_t& max_count, std::int64_t& deadline_ns) {
  PyObject* most = nullptr;
  PyObject* timeout = nullptr;
  PyObject* timeout_ms = nullptr;
  if (!assign({function, args, count, keywords}, 2,
              {{"max_count", &most}, {"timeout", &timeout}, {"timeout_ms", &timeout_ms}})) {
    return false;
  }
  if (most != nullptr) {
    max_count = PyNumber_AsSsize_t(most, nullptr);  // Too large: as large as can be.
    if (max_count == -1 && PyErr_Occurred() != nullptr) return false;
  }
  if (max_count < 1) {
    PyErr_SetString(PyExc_ValueError, "max_count must be at least 1");
    return false;
  }
  return deadline_of(function, timeout, timeout_ms, deadline_ns);
}

bool parse_send(const char* function, const char* what, PyObject* const* args, Py_ssize_t count,
                PyObject* keywords, PyObject*& value, std::int64_t& deadline_ns) {
  if (count == 1 && keywords == nullptr) {
    value = args[0];
    return true;
  }
  PyObject* timeout = nullptr;
  if (!assign({function, args, count, keywords}, 2, {{what, &value}, {"timeout", &timeout}})) {
    return false;
  }
  if (value == nullptr) {
    PyErr_Format(PyExc_TypeError, "%s() missing required argument: '%s'", function, what);
    return false;
  }
  return deadline_of_seconds(timeout, deadline_ns);
}

}  // namespace penstock::python
