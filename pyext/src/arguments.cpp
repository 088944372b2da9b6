// SPDX-License-Identifier: Apache-2.0
#include "arguments.hpp"

namespace penstock::python {

bool assign(const Arguments& arguments, Py_ssize_t positional,
            std::initializer_list<Parameter> parameters) {
  const auto& [function, args, count, keywords] = arguments;
  if (count > positional) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most %zd positional arguments (%zd given)",
                 function, positional, count);
    return false;
  }
  for (Py_ssize_t i = 0; i < count; ++i) *parameters.begin()[i].value = args[i];
  const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* const name = PyTuple_GET_ITEM(keywords, i);
    const Parameter* found = nullptr;
    for (const Parameter& parameter : parameters) {
      if (PyUnicode_CompareWithASCIIString(name, parameter.name) == 0) found = &parameter;
    }
    if (found == nullptr || *found->value != nullptr) {
      PyErr_Format(PyExc_TypeError, "%s() got %s argument '%U'", function,
                   found == nullptr ? "an unexpected keyword" : "multiple values for", name);
      return false;
    }
    *found->value = args[count + i];
  }
  return true;
}

bool optional_size(PyObject* object, Py_ssize_t& size) {
  if (object == nullptr || object == Py_None) return true;
  if (PyIndex_Check(object) == 0) {
    PyErr_Format(PyExc_TypeError, "argument should be integer or None, not '%.200s'",
                 Py_TYPE(object)->tp_name);
    return false;
  }
  size = PyNumber_AsSsize_t(object, PyExc_OverflowError);
  return size != -1 || PyErr_Occurred() == nullptr;
}

bool only_limit(const Arguments& arguments, const char* name, std::uint64_t& limit) {
  PyObject* object = nullptr;
  Py_ssize_t size = -1;
  if (arguments.count == 1 && arguments.keywords == nullptr) {
    object = arguments.args[0];
  } else if (!assign(arguments, 1, {{name, &object}})) {
    return false;
  }
  if (!optional_size(object, size)) return false;
  limit = size < 0 ? UINT64_MAX : static_cast<std::uint64_t>(size);
  return true;
}

}  // namespace penstock::python
