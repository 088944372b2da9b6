// SPDX-License-Identifier: Apache-2.0
#include "counters.hpp"

#include <exception>
#include <new>

#include "penstock/segment.hpp"

namespace penstock::nif {

void publish_counters() noexcept {
  if (detail::counters != &detail::own_counters) return;  // The library was loaded before.
  try {
    // Never unmapped: threads count while the VM ends.
    static const auto* const segment =
        new Segment(Segment::create_shared(sizeof(NodePage), "penstock-node"));
    auto* const page = new (segment->memory().data()) NodePage{};
    page->magic = NodePage::kMagic;
    page->version = NodePage::kVersion;
    detail::counters = &page->counters;
  } catch (const std::exception&) {
    // No memory: nobody sees them from outside.
  }
}

}  // namespace penstock::nif
