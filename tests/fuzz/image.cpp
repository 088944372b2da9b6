// SPDX-License-Identifier: Apache-2.0
#include "image.hpp"

#include <bit>
#include <cmath>
#include <cstring>

#include "atom.hpp"
#include "buffer_object.hpp"
#include "buffer_view.hpp"
#include "capsule.hpp"
#include "decode.hpp"
#include "opaque.hpp"
#include "ref.hpp"
#include "utf8.hpp"

namespace penstock::fuzz {

namespace {

using python::PyRef;

bool is_text(PyObject* object, const char* text) {
  return PyUnicode_CheckExact(object) && PyUnicode_CompareWithASCIIString(object, text) == 0;
}

bool is_equal(PyObject* left, PyObject* right) {
  return Py_IS_TYPE(left, Py_TYPE(right)) && PyObject_RichCompareBool(left, right, Py_EQ) == 1;
}

bool is_number(PyObject* from, PyObject* to) {
  if (!PyLong_CheckExact(to)) return false;
  // int's own, whatever a subclass thinks.
  return PyRef::steal(PyLong_Type.tp_richcompare(from, to, Py_EQ)).get() == Py_True;
}

bool is_float(PyObject* from, PyObject* to) {
  const double number = PyFloat_AS_DOUBLE(from);
  if (std::isnan(number)) return is_text(to, "nan");
  if (std::isinf(number)) return is_text(to, number > 0 ? "infinity" : "neg_infinity");
  return PyFloat_CheckExact(to) && std::bit_cast<std::uint64_t>(number) ==
                                       std::bit_cast<std::uint64_t>(PyFloat_AS_DOUBLE(to));
}

bool is_bytes(PyObject* from, PyObject* to, bool in_key) {
  const PyRef bytes = PyRef::steal(PyBytes_FromObject(from));
  if (!bytes) return false;
  if (!in_key) return is_equal(bytes.get(), to);
  const PyRef read = PyRef::steal(
      python::str_or_bytes({reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(bytes.get())),
                            static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get()))}));
  return read && is_equal(read.get(), to);
}

bool is_atom(PyObject* from, PyObject* to) {
  const std::string_view name = python::atom_name(from);
  const PyRef read = PyRef::steal(
      python::atom_value({reinterpret_cast<const std::uint8_t*>(name.data()), name.size()}));
  return read && is_equal(read.get(), to);
}

bool is_tuple(python::ModuleState& state, PyObject* from, PyObject* to, bool in_key) {
  if (!PyTuple_CheckExact(to) || PyTuple_GET_SIZE(to) != PyTuple_GET_SIZE(from)) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(to); ++i) {
    if (!is_image(state, PyTuple_GET_ITEM(from, i), PyTuple_GET_ITEM(to, i), in_key)) return false;
  }
  return true;
}

bool is_list(python::ModuleState& state, PyObject* from, PyObject* to, bool in_key) {
  if (!PyList_CheckExact(to) || PyList_GET_SIZE(to) != PyList_GET_SIZE(from)) return false;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(to); ++i) {
    if (!is_image(state, PyList_GET_ITEM(from, i), PyList_GET_ITEM(to, i), in_key)) return false;
  }
  return true;
}

/// Keys that differ here and in Erlang may read alike: an atom and a str, True and 1.
bool are_keys_safe(PyObject* dict) {
  PyObject* key = nullptr;
  Py_ssize_t position = 0;
  while (PyDict_Next(dict, &position, &key, nullptr) != 0) {
    if (!PyUnicode_CheckExact(key) && !PyLong_CheckExact(key)) return false;
  }
  return true;
}

bool is_dict(python::ModuleState& state, PyObject* from, PyObject* to) {
  if (!PyDict_CheckExact(to)) return false;
  if (PyDict_GET_SIZE(to) != PyDict_GET_SIZE(from)) return !are_keys_safe(from);
  PyObject* keys[2];
  PyObject* values[2];
  Py_ssize_t positions[2] = {};
  while (PyDict_Next(from, &positions[0], &keys[0], &values[0]) != 0) {
    if (PyDict_Next(to, &positions[1], &keys[1], &values[1]) == 0 ||
        !is_image(state, keys[0], keys[1], true) || !is_image(state, values[0], values[1])) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool is_image(python::ModuleState& state, PyObject* from, PyObject* to, bool in_key) {
  if (from == Py_None || PyBool_Check(from)) return from == to;
  if (python::is_opaque(state, from)) return is_equal(from, to);
  if (python::is_atom(state, from)) return is_atom(from, to);
  if (PyUnicode_Check(from)) return PyUnicode_CheckExact(to) && PyUnicode_Compare(from, to) == 0;
  if (PyLong_Check(from)) return is_number(from, to);
  if (PyFloat_Check(from)) return is_float(from, to);
  if (PyTuple_Check(from)) return is_tuple(state, from, to, in_key);
  if (PyList_Check(from)) return is_list(state, from, to, in_key);
  if (PyDict_Check(from)) return is_dict(state, from, to);
  if (const Channel* const channel = python::channel_of(state, from)) {
    return python::channel_of(state, to) == channel;
  }
  if (const ByteStream* const stream = python::stream_of(state, from)) {
    return python::stream_of(state, to) == stream;
  }
  if (PyObject_CheckBuffer(from) != 0) return is_bytes(from, to, in_key);
  return true;
}

}  // namespace penstock::fuzz
