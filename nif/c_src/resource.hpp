// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <new>
#include <type_traits>
#include <utility>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace penstock::nif {

/// The VM orders what was done to a resource before a term of it was made, before what is done by
/// whoever gets the term. It is not instrumented, so ThreadSanitizer must be told.
inline void handed_to_vm([[maybe_unused]] void* resource) noexcept {
#ifdef __SANITIZE_THREAD__
  __tsan_release(resource);
#endif
}
inline void taken_from_vm([[maybe_unused]] void* resource) noexcept {
#ifdef __SANITIZE_THREAD__
  __tsan_acquire(resource);
#endif
}

/// A C++ object that the VM's garbage collector owns together with whoever holds one of these.
///
/// T's destructor runs on whichever thread drops the last reference, often a normal scheduler: it
/// must neither block nor need the GIL. If T has `void down(ErlNifPid)`, that is called when a
/// process dies that the resource monitors.
template <class T>
class Resource {
 public:
  /// Opens the type, or takes it over from an earlier instance of the module. At load only.
  [[nodiscard]] static bool open(ErlNifEnv* env, const char* name) noexcept {
    ErlNifResourceTypeInit init{};
    init.dtor = [](ErlNifEnv*, void* object) { static_cast<T*>(object)->~T(); };
    if constexpr (requires(T & object, ErlNifPid pid) { object.down(pid); }) {
      init.down = [](ErlNifEnv*, void* object, ErlNifPid* pid, ErlNifMonitor*) {
        static_cast<T*>(object)->down(*pid);
      };
    }
    const auto flags = static_cast<ErlNifResourceFlags>(ERL_NIF_RT_CREATE | ERL_NIF_RT_TAKEOVER);
    type_ = enif_open_resource_type_x(env, name, &init, flags, nullptr);
    return type_ != nullptr;
  }

  /// Throws bad_alloc.
  template <class... Args>
  [[nodiscard]] static Resource make(Args&&... args) {
    // A throw after enif_alloc_resource would leave the VM to destroy an object never built.
    static_assert(std::is_nothrow_constructible_v<T, Args...>);
    void* memory = enif_alloc_resource(type_, sizeof(T));
    if (memory == nullptr) throw std::bad_alloc();
    return Resource(new (memory) T(std::forward<Args>(args)...));
  }

  /// The object in `term`, alive for the rest of this NIF call; nullptr if it is something else.
  [[nodiscard]] static T* get(ErlNifEnv* env, ERL_NIF_TERM term) noexcept {
    void* object = nullptr;
    if (enif_get_resource(env, term, type_, &object) == 0) return nullptr;
    taken_from_vm(object);
    return static_cast<T*>(object);
  }

  /// Another reference to an object that lives in a resource.
  [[nodiscard]] static Resource borrow(T* object) noexcept {
    enif_keep_resource(object);
    return Resource(object);
  }
  /// Takes over the reference that somebody left with take().
  [[nodiscard]] static Resource steal(T* object) noexcept { return Resource(object); }

  Resource() = default;
  Resource(Resource&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Resource& operator=(Resource other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Resource() {
    if (object_ != nullptr) enif_release_resource(object_);
  }

  [[nodiscard]] ERL_NIF_TERM term(ErlNifEnv* env) const noexcept {
    handed_to_vm(object_);
    return enif_make_resource(env, object_);
  }
  [[nodiscard]] T* get() const noexcept { return object_; }
  [[nodiscard]] T* take() noexcept { return std::exchange(object_, nullptr); }
  T* operator->() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }

 private:
  explicit Resource(T* object) noexcept : object_(object) {}
  static inline ErlNifResourceType* type_ = nullptr;  // Written once, at load.
  T* object_ = nullptr;
};

}  // namespace penstock::nif
