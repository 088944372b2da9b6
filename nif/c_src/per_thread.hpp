// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pthread.h>

#include <new>

namespace penstock::nif {

/// The calling thread's own T: made at first use, freed when the thread ends. Throws bad_alloc.
///
/// Not a thread_local object: the VM runs exit handlers while its schedulers are still at work, and
/// the destructors of such objects among them. A pthread key's destructors run only at the end of
/// their own thread.
template <class T>
[[nodiscard]] T& per_thread() {
  static thread_local T* mine = nullptr;  // A cache of the key's value; trivially destroyed.
  static const pthread_key_t key = [] {
    pthread_key_t made{};
    const auto end = [](void* object) {
      mine = nullptr;  // Destructors of other keys may come back, and then get another one.
      delete static_cast<T*>(object);
    };
    if (pthread_key_create(&made, end) != 0) throw std::bad_alloc();
    return made;
  }();
  if (mine == nullptr) [[unlikely]] {
    T* made = new T();
    if (pthread_setspecific(key, made) != 0) {
      delete made;
      throw std::bad_alloc();
    }
    mine = made;
  }
  return *mine;
}

}  // namespace penstock::nif
