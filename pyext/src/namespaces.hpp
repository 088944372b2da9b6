// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unordered_map>

#include "penstock/call.hpp"
#include "ref.hpp"

namespace penstock::python {

/// The global variables that each calling process has in one context: what py:exec and py:eval work
/// in, and where calls to '__main__' look. Made at first use, gone with the process.
///
/// Threads: the context's, with the GIL.
class Namespaces {
 public:
  /// Of the caller of `call`: a borrowed dict, or nullptr and an exception is set.
  [[nodiscard]] PyObject* of(Call& call);
  /// The dict that `of` would return, or an empty reference: none yet.
  [[nodiscard]] PyRef find(std::uint64_t caller) const;
  void forget(std::uint64_t caller);
  /// After a call: its caller may have gone while it ran, and then nobody will say `forget`.
  void settle(Call& call);

 private:
  struct Namespace {
    PyRef variables;
    bool is_orphan;
  };
  std::unordered_map<std::uint64_t, Namespace> spaces_;
};

}  // namespace penstock::python
