// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ref.hpp"

namespace penstock::python {

class LoopCore;

/// Has a loop of ours look at the inbox of an InboxReaderObject's caller, if it does not yet.
/// False: an exception is set.
[[nodiscard]] bool watch_inbox_in(LoopCore& loop, const PyRef& reader);

}  // namespace penstock::python
