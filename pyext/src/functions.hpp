// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

namespace penstock::python {

/// Module-level functions: send, reply, whereis, atom.
extern PyMethodDef module_functions[];

/// Functions for tests, which take and give wire forms, addresses included; only in processes
/// without an Erlang that those could hurt.
extern PyMethodDef test_functions[];
extern PyMethodDef test_stream_functions[];

}  // namespace penstock::python
