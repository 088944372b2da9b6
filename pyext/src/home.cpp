// SPDX-License-Identifier: Apache-2.0
#include "home.hpp"

#include <cstddef>
#include <new>
#include <utility>

#include "lent_bytes.hpp"
#include "runtime_thread.hpp"

namespace penstock::python {

namespace {

int collect_pending(void*) {
  Home::main().collect();
  return 0;
}

}  // namespace

Home& Home::main() noexcept {
  // Never destroyed: at the process's end others still give bytes back.
  alignas(Home) static std::byte memory[sizeof(Home)];
  static Home* const home = new (memory) Home(true);
  return *home;
}

Ref<Home> Home::create() noexcept { return Ref<Home>::steal(new (std::nothrow) Home(false)); }

void Home::request() noexcept {
  requests_.fetch_add(1, order::release("K2"));
  futex_wake(&requests_, 1);
}

void Home::add(LentBytes& bytes) noexcept {
  // Once it is on the list somebody else may destroy it, and with it the last reference to this.
  const auto alive = Ref<Home>::borrow(is_main_ ? nullptr : this);
  LentBytes* newest = newest_.load(order::relaxed);
  do {
    bytes.next_ = newest;
  } while (!newest_.compare_exchange_weak(newest, &bytes, order::release("K4"), order::relaxed));
  if (told_.exchange(1, order::acq_rel("K5")) == 0) tell();
}

void Home::tell() noexcept {
  if (has_ended_.load(order::relaxed) != 0) {  // K5 ordered it.
    pass_on();
  } else if (!is_main_ || runtime_thread() != nullptr) {
    request();
  } else if (Py_IsInitialized() == 0 || Py_AddPendingCall(collect_pending, nullptr) != 0) {
    // No room among the pending calls: the next add() tries again, and the next call of a channel
    // drops what is here.
    told_.store(0, order::relaxed);
  }
}

void Home::drop_list() {
  LentBytes* bytes = newest_.exchange(nullptr, order::acquire("K4"));
  while (bytes != nullptr) LentBytes::destroy(std::exchange(bytes, bytes->next_));
}

void Home::collect() {
  (void)told_.exchange(0, order::acq_rel("K5"));
  drop_all();
}

void Home::end() noexcept {
  has_ended_.store(1, order::relaxed);
  pass_on();
}

void Home::pass_on() noexcept {
  (void)told_.exchange(0, order::acq_rel("K5"));
  LentBytes* bytes = newest_.exchange(nullptr, order::acquire("K4"));
  // Each of them may hold the last reference to this, so that the list is left alone from here on.
  while (bytes != nullptr) main().add(*std::exchange(bytes, bytes->next_));
}

}  // namespace penstock::python
