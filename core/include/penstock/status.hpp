// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace penstock {

/// Outcome of a data-path call. Everything here is expected in normal operation; nothing throws.
/// docs/errors.md has the Erlang term and the Python result of each row.
enum class Status : std::uint8_t {
  ok,
  full,           ///< No room now; try again after a receive.
  empty,          ///< Nothing committed yet.
  closed,         ///< No further send; for a receiver: closed and drained.
  too_large,      ///< Will never fit.
  out_of_memory,  ///< Nothing was changed.
  unreachable,    ///< No such process, or no VM.
  limit,          ///< A configured limit (atoms, bytes of a body) is reached.
  too_long,       ///< More than was announced.
  no_reader,      ///< Waiting for room is in vain: whoever read is gone.
  corrupt,        ///< Bytes that no encoder of ours writes.
  not_shared,     ///< It cannot go to another process: a channel or buffer that lives in this one.
};

}  // namespace penstock
