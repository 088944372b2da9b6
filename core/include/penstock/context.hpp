// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/call.hpp"
#include "penstock/message.hpp"
#include "penstock/ref.hpp"
#include "penstock/status.hpp"

namespace penstock {

/// What runs requests (call.hpp), one after the other, in arrival order: a thread of this process,
/// or another process.
///
/// Threads: any. Nothing here blocks.
class Context : public Object {
 public:
  /// ok, closed, not_shared or out_of_memory, and then the request stays as it is. Bounded by
  /// nothing but memory.
  [[nodiscard]] virtual Status submit(Message& request) noexcept = 0;
  /// The same for a request on whose path this context is: it runs inside of the one that waits
  /// for it.
  [[nodiscard]] virtual Status submit_nested(Message& request) noexcept = 0;

  /// Whether requests are run by another process. Then submit() copies the bytes that a request
  /// pins, however many, and who waits for an answer may look_out() for it.
  [[nodiscard]] virtual bool is_remote() const noexcept { return false; }
  /// Delivers what comes from there, at once or within `for_ns`, if nobody else does. True: as soon
  /// as something was delivered.
  virtual bool look_out(std::int64_t /*for_ns*/) noexcept { return false; }

  /// Raises KeyboardInterrupt in the running request; in any, or only if it is still `only`.
  /// Ends waits inside Penstock at once; code that sleeps in C elsewhere sees it when it returns.
  virtual void interrupt(const Ref<Call>& only = {}) noexcept = 0;
  /// Refuses new requests; ends when those that are queued are done.
  virtual void finish() noexcept = 0;
  /// Refuses new requests, interrupts the running one, drops the queued ones, and ends. Idempotent.
  virtual void stop() noexcept = 0;
  /// Ends at once, whatever runs: only another process can.
  virtual void kill() noexcept {}
};

}  // namespace penstock
