// SPDX-License-Identifier: Apache-2.0
#include "penstock/thread.hpp"

#include <pthread.h>
#include <signal.h>

#include <cstddef>

#include "penstock/forks.hpp"

namespace penstock {

namespace {

constexpr std::size_t kStackBytes = std::size_t{8} << 20;

class Attributes {
 public:
  Attributes() noexcept { pthread_attr_init(&value_); }
  ~Attributes() { pthread_attr_destroy(&value_); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  [[nodiscard]] pthread_attr_t* get() noexcept { return &value_; }

 private:
  pthread_attr_t value_{};
};

}  // namespace

SignalsBlocked::SignalsBlocked() noexcept {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before_);
}

SignalsBlocked::~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

bool start_thread(void* (*body)(void*), void* argument) noexcept {
  const SignalsBlocked blocked;
  Attributes attributes;
  pthread_attr_setstacksize(attributes.get(), kStackBytes);
  pthread_attr_setdetachstate(attributes.get(), PTHREAD_CREATE_DETACHED);
  pthread_t thread{};
  return pthread_create(&thread, attributes.get(), body, argument) == 0;
}

bool Forks::watch() noexcept {
  static const bool is_watching =
      pthread_atfork(nullptr, nullptr, [] { count_.fetch_add(1, order::relaxed); }) == 0;
  return is_watching;
}

void name_this_thread(const char* name) noexcept { pthread_setname_np(pthread_self(), name); }

}  // namespace penstock
