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

Namespaces::Namespaces(ModuleState& state) : state_(state), next_(state.namespaces) {
  state.namespaces = this;
}

Namespaces::~Namespaces() {
  Namespaces** link = &state_.namespaces;
  while (*link != this) link = &(*link)->next_;
  *link = next_;
}

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

PyRef Namespaces::find_name(std::uint64_t caller, PyObject* name) const {
  const auto known = spaces_.find(caller);
  if (known == spaces_.end()) return {};
  const PyRef variables = PyRef::borrow(known->second.variables.get());
  return PyRef::borrow(PyDict_GetItemWithError(variables.get(), name));
}

PyRef Namespaces::find_name_anywhere(std::uint64_t caller, PyObject* name) const {
  PyRef found = find_name(caller, name);
  for (const Namespaces* each = state_.namespaces; each != nullptr; each = each->next_) {
    if (found || PyErr_Occurred() != nullptr) return found;
    found = each->find_name(caller, name);
  }
  return found;
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
