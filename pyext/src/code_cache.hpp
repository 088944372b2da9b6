// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

namespace penstock::python {

/// Compiled forms of source texts that a context has run, since programs run the same ones again.
/// Bounded: when it is full it starts afresh.
///
/// Threads: the context's, with the GIL.
class CodeCache {
 public:
  /// The code object; empty and TypeError, ValueError or SyntaxError is set.
  [[nodiscard]] PyRef expression(PyObject* source) {
    return compile(expressions_, source, Py_eval_input);
  }
  [[nodiscard]] PyRef statements(PyObject* source) {
    return compile(statements_, source, Py_file_input);
  }

 private:
  [[nodiscard]] static PyRef compile(PyRef& cache, PyObject* source, int start);
  PyRef expressions_;  // dict: str -> code.
  PyRef statements_;
};

}  // namespace penstock::python
