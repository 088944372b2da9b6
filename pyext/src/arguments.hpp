// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>

#include "ref.hpp"

namespace penstock::python {

/// Arguments of a method that takes METH_FASTCALL | METH_KEYWORDS.
struct Arguments {
  const char* function;
  PyObject* const* args;
  Py_ssize_t count;
  PyObject* keywords;
};

struct Parameter {
  const char* name;
  PyObject** value;
};

/// Positional arguments go to the first `positional` of `parameters`, keywords to any. False:
/// TypeError is set.
[[nodiscard]] bool assign(const Arguments& arguments, Py_ssize_t positional,
                          std::initializer_list<Parameter> parameters);

/// Of an argument that may be missing (nullptr) or None. False: TypeError or OverflowError is set.
[[nodiscard]] bool optional_size(PyObject* object, Py_ssize_t& size);

/// The only argument `name` of a method, as the greatest size wanted: UINT64_MAX if it is missing,
/// None or negative.
[[nodiscard]] bool only_limit(const Arguments& arguments, const char* name, std::uint64_t& limit);

}  // namespace penstock::python
