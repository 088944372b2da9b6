// SPDX-License-Identifier: Apache-2.0
#include "namespaces.hpp"

namespace penstock::python {

namespace {

PyRef new_namespace() {
  PyRef variables = PyRef::steal(PyDict_New());
  const PyRef name = PyRef::steal(PyUnicode_FromString("__main__"));
  if (!variables || !name || PyDict_SetItemString(variables.get(), "__name__", name.get()) != 0 ||
      PyDict_SetItemString(variables.get(), "__builtins__", PyEval_GetBuiltins()) != 0) {
    return {};
  }
  return variables;
}

}  // namespace

PyObject* Namespaces::of(Call& call) {
  const auto known = spaces_.find(call.caller());
  if (known != spaces_.end()) return known->second.variables.get();
  PyRef variables = new_namespace();
  if (!variables) return nullptr;
  PyObject* const borrowed = variables.get();
  const bool is_orphan = !call.watch_caller();
  spaces_.emplace(call.caller(), Namespace{std::move(variables), is_orphan});
  return borrowed;
}

PyRef Namespaces::find(std::uint64_t caller) const {
  const auto known = spaces_.find(caller);
  return known == spaces_.end() ? PyRef() : PyRef::borrow(known->second.variables.get());
}

void Namespaces::forget(std::uint64_t caller) {
  // Out of the table first: finalizers of what it held may run any code.
  const auto node = spaces_.extract(caller);
}

void Namespaces::settle(Call& call) {
  const auto known = spaces_.find(call.caller());
  if (known != spaces_.end() && known->second.is_orphan) forget(call.caller());
}

}  // namespace penstock::python
