// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "module_state.hpp"

/// What C code needs to do as `await` does.
///
/// Threads: with the GIL.
namespace penstock::python {

/// Whether `await object` is possible. Runs no Python code.
[[nodiscard]] bool is_awaitable(PyObject* object) noexcept;

/// What `await object` drives: a coroutine itself, or what __await__ returns. Empty: an exception
/// is set.
[[nodiscard]] PyRef awaiting_iterator(PyObject* object);

enum class Resumed : std::uint8_t { yielded, returned, raised };

/// Throws into such an iterator; `arguments` are those of throw(). `*value`: a new reference, or
/// nullptr and an exception is set.
[[nodiscard]] Resumed throw_into(const ModuleState& state, PyObject* iterator, PyObject* arguments,
                                 PyObject** value);

/// Runs an awaitable to its end in an event loop of its own, while the loop of this thread waits in
/// one of its tasks. Empty: an exception is set.
[[nodiscard]] PyRef run_apart(const PyRef& awaitable);

/// A coroutine that calls a function on another thread, unless it is a coroutine function. `kwargs`
/// may be nullptr. Empty: an exception is set.
[[nodiscard]] PyRef call_in_thread(PyObject* function, PyObject* args, PyObject* kwargs);

}  // namespace penstock::python
