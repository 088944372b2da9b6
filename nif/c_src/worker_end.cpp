// SPDX-License-Identifier: Apache-2.0
#include "worker_end.hpp"

#include "penstock/wire.hpp"

namespace penstock::nif {

std::string text_of(const WorkerEnd& end) {
  return (end.by_signal ? "ended by signal " : "ended with status ") + std::to_string(end.number);
}

void write_reason(Message& reason, const WorkerEnd& end, const char* why) noexcept {
  wire::Writer writer(reason);
  const bool ok =
      writer.tuple(2) && writer.atom("worker_down") &&
      (why != nullptr ? writer.atom(why)
                      : writer.tuple(2) && writer.atom(end.by_signal ? "signal" : "exit_status") &&
                            writer.integer(end.number));
  if (!ok) reason.clear();
}

}  // namespace penstock::nif
