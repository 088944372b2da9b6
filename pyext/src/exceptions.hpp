// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "module_state.hpp"
#include "penstock/message.hpp"

namespace penstock::python {

/// Takes the exception that is set: an instance; empty when none was.
[[nodiscard]] PyRef take_exception();

/// ValueError: what was to leave this process holds what cannot.
void raise_not_shared();

/// "ClassName: message" of the exception that is set, which is cleared.
[[nodiscard]] std::string exception_text();

/// Replaces `answer` by what the exception that is set says to Erlang, and clears it:
/// {ClassName, Message}, an atom (a binary if no more atoms may be made) and a string of at most
/// 8 Ki characters; KeyboardInterrupt is the atom `interrupted`. Whatever __str__ does, this
/// succeeds.
///
/// With `with_traceback` it is {ClassName, Message, Traceback}, a binary of at most 64 KiB as
/// Python would print it, empty if that fails.
void describe_exception(Message& answer, bool with_traceback = false);

}  // namespace penstock::python
