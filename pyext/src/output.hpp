// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"

/// How what Python prints and logs leaves the interpreter: through a channel that py_output, the
/// process that takes it, has opened. The Python half is erlang/_output.py.
namespace penstock::python {

/// Replaces sys.stdout and sys.stderr and adds the logging handler, as open_output() was told
/// before Python started. False: an exception is set.
[[nodiscard]] bool install_output();

/// What erlang/_output.py and erlang/logging.py need of us.
extern PyMethodDef output_functions[];

}  // namespace penstock::python
