// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"

namespace penstock::python {

/// What `python3 -m erlang.worker` is made of.
extern PyMethodDef worker_functions[];

}  // namespace penstock::python
