// SPDX-License-Identifier: Apache-2.0
#include "code_cache.hpp"

#include <cstring>

namespace penstock::python {

namespace {

constexpr Py_ssize_t kMaxEntries = 256;
constexpr Py_ssize_t kMaxSource = 64 * 1024;  // Characters; longer ones are compiled each time.

PyRef compile_source(PyObject* source, int start) {
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(source, &size);
  if (text == nullptr) return {};
  if (std::memchr(text, 0, static_cast<std::size_t>(size)) != nullptr) {
    PyErr_SetString(PyExc_ValueError, "source code must not contain null characters");
    return {};
  }
  // As eval(): an expression may be indented.
  if (start == Py_eval_input) text += std::strspn(text, " \t");
  return PyRef::steal(Py_CompileString(text, "<erlang>", start));
}

}  // namespace

PyRef CodeCache::compile(PyRef& cache, PyObject* source, int start) {
  if (!PyUnicode_CheckExact(source)) {
    PyErr_Format(PyExc_TypeError, "code must be text, not '%.200s'", Py_TYPE(source)->tp_name);
    return {};
  }
  if (!cache) cache = PyRef::steal(PyDict_New());
  if (!cache) return {};
  if (PyObject* const known = PyDict_GetItemWithError(cache.get(), source)) {
    return PyRef::borrow(known);
  }
  if (PyErr_Occurred() != nullptr) return {};
  PyRef code = compile_source(source, start);
  if (!code || PyUnicode_GET_LENGTH(source) > kMaxSource) return code;
  if (PyDict_GET_SIZE(cache.get()) >= kMaxEntries) PyDict_Clear(cache.get());
  if (PyDict_SetItem(cache.get(), source, code.get()) != 0) return {};
  return code;
}

}  // namespace penstock::python
