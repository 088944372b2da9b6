// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ends.hpp"
#include "input.hpp"
#include "module_state.hpp"
#include "ref.hpp"

namespace penstock::fuzz {

/// Makes Python objects of any kind: those that have an Erlang form, subclasses of them, those that
/// have none, and some that do harm while they are converted.
///
/// Threads: the fuzzer's only.
class Objects {
 public:
  Objects(python::ModuleState& state, const LinkEnd& end);
  Objects(const Objects&) = delete;
  Objects& operator=(const Objects&) = delete;

  /// The object that `input` describes; never empty.
  [[nodiscard]] python::PyRef make(Input& input);
  /// Lets go of what it keeps of the last one.
  void forget();
  /// Whether what it made runs code of its own when it is converted.
  [[nodiscard]] bool is_wild() const { return is_wild_; }

 private:
  python::PyRef value(Input& input, int depth);
  python::PyRef scalar(Input& input, std::uint8_t kind);
  python::PyRef text(Input& input);
  python::PyRef bytes(Input& input);
  python::PyRef view(Input& input);
  python::PyRef tuple(Input& input, int depth);
  python::PyRef list(Input& input, int depth);
  python::PyRef dict(Input& input, int depth);
  python::PyRef subclass(Input& input, int depth);
  python::PyRef array(Input& input, int depth);
  python::PyRef opaque(Input& input);
  python::PyRef nested(Input& input, int depth);
  python::PyRef evil(Input& input);
  [[nodiscard]] PyObject* named(const char* name) const;

  python::ModuleState& state_;
  const python::PyRef classes_;  // The dict of a module that defines them.
  // Interned, because Python's cache of attributes keeps each name that is looked up.
  const python::PyRef release_;
  const python::PyRef victim_;
  const python::PyRef channel_;
  const python::PyRef stream_;
  bool is_wild_ = false;
};

}  // namespace penstock::fuzz
