// SPDX-License-Identifier: Apache-2.0
#include "penstock/ref.hpp"

namespace penstock {

/// A channel may hold a message that holds a channel that holds a message: destroying each inside
/// the destructor of the one before would go as deep into the C stack as the chain is long. So what
/// dies during a destruction waits for its end.
void Object::destroy() noexcept {
#ifdef PENSTOCK_MODEL  // The explorer's threads share one thread of the system.
  delete this;
#else
  static thread_local Object* dead = nullptr;
  static thread_local bool destroying = false;
  next_dead_ = dead;
  dead = this;
  if (destroying) return;
  destroying = true;
  while (dead != nullptr) {
    Object* const object = dead;
    dead = object->next_dead_;
    delete object;
  }
  destroying = false;
#endif
}

Addressable::~Addressable() {
  if (Object* const peer = peer_.load(order::relaxed)) peer->release();  // O1 ordered it.
}

bool Addressable::set_peer(Ref<Object>& peer) noexcept {
  Object* none = nullptr;
  if (!peer_.compare_exchange_strong(none, peer.get(), order::release("C3"), order::relaxed)) {
    return false;
  }
  (void)peer.take();  // Ours now.
  return true;
}

}  // namespace penstock
