// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "penstock/message.hpp"
#include "worker_process.hpp"

/// How a worker process ended, for those who want to know.
namespace penstock::nif {

/// "ended by signal 9".
[[nodiscard]] std::string text_of(const WorkerEnd& end);

/// {worker_down, Why} in wire form: {signal, Number} or {exit_status, Number}, unless `why` knows
/// better. Empty when memory ran out.
void write_reason(Message& reason, const WorkerEnd& end, const char* why) noexcept;

}  // namespace penstock::nif
