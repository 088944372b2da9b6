// SPDX-License-Identifier: Apache-2.0
#include "vm_domain.hpp"

#include <cerrno>
#include <mutex>

#include "atoms.hpp"

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

ERL_NIF_TERM reason_of(const std::system_error& error) noexcept {
  switch (error.code().value()) {
    case ENOSPC:
      return atoms().enospc;
    case EFBIG:
      return atoms().efbig;
    case EMFILE:
    case ENFILE:
      return atoms().system_limit;
    default:
      return atoms().enomem;
  }
}

}  // namespace penstock::nif
