// SPDX-License-Identifier: Apache-2.0
#include "penstock/host.hpp"

#include <pthread.h>

#include "penstock/shim.hpp"

namespace penstock {

namespace {

Atomic<Host*>& process_host() noexcept {
  static constinit Atomic<Host*> host{nullptr};
  return host;
}

}  // namespace

Host* host() noexcept { return process_host().load(order::acquire("H1")); }

void set_host(Host* host) noexcept {
  // Of the threads that the host relies on, a forked child has none, and any of its locks may be
  // held for ever there.
  static const int registered = pthread_atfork(nullptr, nullptr, [] { set_host(nullptr); });
  (void)registered;
  process_host().store(host, order::release("H1"));
}

}  // namespace penstock
