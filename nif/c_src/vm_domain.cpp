// SPDX-License-Identifier: Apache-2.0
#include "vm_domain.hpp"

#include <mutex>

namespace penstock::nif {

namespace {

constinit Atomic<VmDomain*> made{nullptr};

}  // namespace

VmDomain& vm_domain(std::uint64_t pid) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  VmDomain* domain = made.load(order::relaxed);  // The mutex orders it.
  if (domain == nullptr) {
    domain = new VmDomain{pid, Domain::create(), wire::ValuePorter(pid)};
    made.store(domain, order::release("N6"));
  }
  return *domain;
}

const VmDomain* vm_domain_if_any() noexcept { return made.load(order::acquire("N6")); }

}  // namespace penstock::nif
