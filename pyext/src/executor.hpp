// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "code_cache.hpp"
#include "module_state.hpp"
#include "namespaces.hpp"
#include "parking.hpp"
#include "penstock/call.hpp"
#include "penstock/wire.hpp"

namespace penstock::python {

/// Runs the requests of one context (call.hpp) and answers them. Whatever they raise, it goes on.
///
/// Threads: the context's, with the GIL.
class Executor {
 public:
  Executor(ModuleState& state, Interruptible& interrupts) noexcept
      : state_(state), interrupts_(interrupts) {}

  void execute(const Message& request);

 private:
  void run(Operation operation, Call& call, wire::Reader& reader);
  /// New references, or empty and an exception is set.
  [[nodiscard]] PyRef call_function(Call& call, wire::Reader& reader);
  [[nodiscard]] PyRef evaluate(Call& call, wire::Reader& reader);
  [[nodiscard]] PyRef execute_statements(Call& call, wire::Reader& reader);
  [[nodiscard]] PyRef find_function(Call& call, PyObject* module, PyObject* name);
  [[nodiscard]] PyRef read_name(wire::Reader& reader);
  [[nodiscard]] PyRef read(wire::Reader& reader);

  ModuleState& state_;
  Interruptible& interrupts_;
  Namespaces namespaces_;
  CodeCache code_;
};

}  // namespace penstock::python
