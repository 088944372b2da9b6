// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "penstock/python/runtime.hpp"

namespace penstock::nif {

/// Starts Python in this VM. Blocks for some 50 ms the first time. Returns what failed, or "".
[[nodiscard]] std::string start_python(const python::RuntimeConfig& config);

}  // namespace penstock::nif
