// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

namespace penstock::python {

/// Runs what is called in a scope in a contextvars.Context. Where that is entered already, because
/// somebody runs the loop inside of a callback, in the one that there is.
///
/// Threads: with the GIL.
class EnteredContext {
 public:
  explicit EnteredContext(PyObject* context) noexcept
      : context_(PyRef::borrow(context)), is_entered_(PyContext_Enter(context) == 0) {
    if (!is_entered_) PyErr_Clear();
  }
  /// Also with an exception set, which stays.
  ~EnteredContext() {
    if (is_entered_) (void)PyContext_Exit(context_.get());
  }
  EnteredContext(const EnteredContext&) = delete;
  EnteredContext& operator=(const EnteredContext&) = delete;

 private:
  const PyRef context_;
  const bool is_entered_;
};

}  // namespace penstock::python
