// SPDX-License-Identifier: Apache-2.0
#include "vm_domain.hpp"

#include <mutex>

namespace penstock::nif {

VmDomain& vm_domain(std::uint64_t pid) {
  static std::mutex mutex;
  static VmDomain* made = nullptr;
  const std::lock_guard lock(mutex);
  if (made == nullptr) made = new VmDomain{Domain::create(), wire::ValuePorter(pid)};
  return *made;
}

}  // namespace penstock::nif
