// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unordered_map>

#include "module_state.hpp"
#include "penstock/call.hpp"
#include "ref.hpp"

namespace penstock::python {

/// The global variables that each calling process has in one context: what py:exec and py:eval work
/// in, and where calls to '__main__' look. Made at first use, gone with the process.
///
/// Threads: the context's, with the GIL.
class Namespaces {
 public:
  explicit Namespaces(ModuleState& state);
  ~Namespaces();
  Namespaces(const Namespaces&) = delete;
  Namespaces& operator=(const Namespaces&) = delete;

  /// Of the caller of `call`: a borrowed dict, or nullptr and an exception is set.
  [[nodiscard]] PyObject* of(Call& call);
  /// What `name` is in the namespace of that process. Empty: nothing, or an exception is set.
  [[nodiscard]] PyRef find_name(std::uint64_t caller, PyObject* name) const;
  /// Same, here or else in any other context of this interpreter.
  [[nodiscard]] PyRef find_name_anywhere(std::uint64_t caller, PyObject* name) const;
  void forget(std::uint64_t caller);
  /// After a call: its caller may have gone while it ran, and then nobody will say `forget`.
  void settle(Call& call);

 private:
  ModuleState& state_;
  Namespaces* next_ = nullptr;  // Of the interpreter's.
  struct Namespace {
    PyRef variables;
    bool is_orphan;
  };
  std::unordered_map<std::uint64_t, Namespace> spaces_;
};

}  // namespace penstock::python
