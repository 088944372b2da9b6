// SPDX-License-Identifier: Apache-2.0
#include "penstock/host.hpp"

#include <atomic>

namespace penstock {

namespace {

std::atomic<Host*> process_host{nullptr};

}  // namespace

Host* host() noexcept { return process_host.load(std::memory_order_acquire); }
void set_host(Host* host) noexcept { process_host.store(host, std::memory_order_release); }

}  // namespace penstock
