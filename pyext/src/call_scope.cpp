// SPDX-License-Identifier: Apache-2.0
#include "call_scope.hpp"

#include "set_aside.hpp"

namespace penstock::python {

namespace {

constinit thread_local CallScope* current_scope = nullptr;

}  // namespace

CallScope* CallScope::current() noexcept { return current_scope; }

CallScope::CallScope(ModuleState& state, std::uint64_t caller) noexcept
    : state_(state), caller_(caller), outer_(current_scope) {
  current_scope = this;
}

CallScope::~CallScope() noexcept(false) {
  if (has_output_ && state_.at_call_end != nullptr) {
    const SetAside exception;
    const PyRef done = PyRef::steal(PyObject_CallNoArgs(state_.at_call_end));
    // An interrupt came too late: the call has its result.
    if (!done) PyErr_Clear();
  }
  current_scope = outer_;
}

}  // namespace penstock::python
