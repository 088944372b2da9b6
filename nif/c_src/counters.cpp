// SPDX-License-Identifier: Apache-2.0
#include "counters.hpp"

#include <new>
#include <system_error>

#include "penstock/segment.hpp"

namespace penstock::nif {

void publish_counters() noexcept {
  if (detail::counters != &detail::own_counters) return;  // The library was loaded before.
  try {
    // Stays as long as the VM.
    static const Segment segment = Segment::create_shared(sizeof(NodePage), "penstock-node");
    auto* const page = new (segment.memory().data()) NodePage{};
    page->magic = NodePage::kMagic;
    page->version = NodePage::kVersion;
    detail::counters = &page->counters;
  } catch (const std::system_error&) {
    // Nobody sees them from outside.
  }
}

}  // namespace penstock::nif
