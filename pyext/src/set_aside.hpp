// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

namespace penstock::python {

/// Keeps the exception that is set, if any, out of the way of Python code that runs meanwhile.
class SetAside {
 public:
  SetAside() { PyErr_Fetch(&type_, &value_, &traceback_); }
  ~SetAside() { PyErr_Restore(type_, value_, traceback_); }
  SetAside(const SetAside&) = delete;
  SetAside& operator=(const SetAside&) = delete;

 private:
  PyObject* type_ = nullptr;
  PyObject* value_ = nullptr;
  PyObject* traceback_ = nullptr;
};

}  // namespace penstock::python
