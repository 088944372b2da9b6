// SPDX-License-Identifier: Apache-2.0
#include "loop_reactor.hpp"

#include <cerrno>
#include <new>

namespace penstock::python {

Ref<LoopReactor> LoopReactor::create() noexcept {
  auto reactor = io_uring::Reactor::create(io_uring::Reactor::preference_of_environment());
  if (reactor == nullptr) return {};
  auto* const shared = new (std::nothrow) LoopReactor(std::move(reactor));
  if (shared == nullptr) errno = ENOMEM;
  return Ref<LoopReactor>::steal(shared);
}

}  // namespace penstock::python
