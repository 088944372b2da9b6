// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "penstock/message.hpp"
#include "penstock/status.hpp"

namespace penstock::python {

/// Where a context's requests come from beside its queue: what the VM says to a worker process,
/// which the thread that runs requests takes itself while it has nothing else to do.
///
/// Threads: the context's, with or without the GIL.
class RequestSource {
 public:
  /// The next request, also of the queue: ok, and it is in `request`, which is empty; empty;
  /// closed: there are no more.
  [[nodiscard]] virtual Status try_take(Message& request) noexcept = 0;
  /// The same, and waits for one. Empty: try again. Release the GIL before.
  [[nodiscard]] virtual Status take(Message& request) noexcept = 0;

 protected:
  RequestSource() = default;
  ~RequestSource() = default;
};

}  // namespace penstock::python
