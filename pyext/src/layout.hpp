// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"

namespace penstock::python {

/// What the command `penstock` and its tests ask of us.
extern PyMethodDef layout_functions[];

}  // namespace penstock::python
