// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

namespace penstock::python {

/// A copy of the current contextvars.Context that all handles share which are made before a
/// variable changes: each copies it once more when it runs, many are cancelled before.
///
/// Whether something has changed is seen in the contexts' maps, which CPython never changes but
/// replaces; where it keeps them is checked when loops are first used.
///
/// Threads: with the GIL.
class SharedContext {
 public:
  /// Whether this interpreter's contexts are laid out as expected. False, and no exception: no.
  [[nodiscard]] static bool is_possible();

  /// One that equals the current one and must not be entered. Empty: an exception is set.
  [[nodiscard]] PyRef current();
  [[nodiscard]] PyObject* get() const noexcept { return copy_.get(); }
  void clear() { copy_ = {}; }

 private:
  PyRef copy_;
};

}  // namespace penstock::python
