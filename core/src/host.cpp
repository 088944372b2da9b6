// SPDX-License-Identifier: Apache-2.0
#include "penstock/host.hpp"

#include "penstock/shim.hpp"

namespace penstock {

namespace {

Atomic<Host*>& process_host() noexcept {
  static constinit Atomic<Host*> host{nullptr};
  return host;
}

}  // namespace

Host* host() noexcept { return process_host().load(order::acquire("H1")); }
void set_host(Host* host) noexcept { process_host().store(host, order::release("H1")); }

}  // namespace penstock
