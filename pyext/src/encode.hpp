// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"
#include "penstock/message.hpp"

namespace penstock::python {

/// Appends `object` to `message` in wire form. False: TypeError (no Erlang term is like it),
/// ValueError (too deep, lone surrogates, dict keys that become one), MemoryError, or what user
/// code raised is set; the text names the type and the path to it. The message is then to be thrown
/// away.
///
/// A bytes object of at least bytes::kPinThreshold bytes is referred to, not copied.
///
/// Runs user code only for objects with `tolist` and `ndim` (numpy's). Needs the GIL.
[[nodiscard]] bool encode(ModuleState& state, Message& message, PyObject* object);

/// Same, but the first element of a tuple, if it is a str, is sent as an atom: the tag of a reply.
[[nodiscard]] bool encode_reply(ModuleState& state, Message& message, PyObject* object);

/// As encode(), but everything is in the message, for whoever cannot follow an address.
[[nodiscard]] bool encode_whole(ModuleState& state, Message& message, PyObject* object);

}  // namespace penstock::python
