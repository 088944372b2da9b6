// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"

namespace penstock::python {

/// What erlang.shared_channel() is made of.
extern PyMethodDef shared_channel_functions[];

}  // namespace penstock::python
