// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>

#include "penstock/shim.hpp"

namespace penstock {

/// Base of everything that Erlang, Python and queued messages own together: an intrusive count.
///
/// Threads: retain and release from any. The destructor runs on whichever thread drops the last
/// reference (an Erlang scheduler, a Python thread), so it must neither block nor need the GIL.
///
/// Edges:
///   O1  release (acq_rel): what a thread did before it dropped its reference happens before the
///       destructor.
class Object {
 public:
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  void retain() noexcept {
    count_.fetch_add(1, order::relaxed);  // The caller's own keeps it alive.
  }
  /// For whoever has no reference, but knows that the memory is still there: false, the last one
  /// was dropped, and the destructor runs or will.
  [[nodiscard]] bool try_retain() noexcept {
    std::uint64_t count = count_.load(order::relaxed);
    while (count != 0) {
      if (count_.compare_exchange_weak(count, count + 1, order::relaxed, order::relaxed)) {
        return true;
      }
    }
    return false;
  }
  void release() noexcept {
    if (count_.fetch_sub(1, order::acq_rel("O1")) == 1) destroy();
  }

 protected:
  Object() = default;
  virtual ~Object() = default;

 private:
  void destroy() noexcept;
  Atomic<std::uint64_t> count_{1};
  Object* next_dead_ = nullptr;  // While its destruction waits for that of its owner.
};

/// Owns one reference to a T, or none.
template <class T>
class Ref {
 public:
  Ref() = default;
  [[nodiscard]] static Ref steal(T* object) noexcept { return Ref(object); }
  [[nodiscard]] static Ref borrow(T* object) noexcept {
    if (object != nullptr) object->retain();
    return Ref(object);
  }
  Ref(const Ref& other) noexcept : Ref(borrow(other.object_)) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) object_->release();
  }

  [[nodiscard]] T* get() const noexcept { return object_; }
  [[nodiscard]] T* take() noexcept { return std::exchange(object_, nullptr); }
  T* operator->() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }

 private:
  explicit Ref(T* object) noexcept : object_(object) {}
  T* object_ = nullptr;
};

/// An object that a VM may know by a reference of its own: has a slot for whoever represents it
/// there. Set once, freed with the object.
///
/// Threads: any. Edges:
///   C3  set_peer, release -> peer, acquire: the peer's contents.
class Addressable : public Object {
 public:
  [[nodiscard]] Object* peer() const noexcept { return peer_.load(order::acquire("C3")); }
  /// False if there is one already; then `peer` is not taken.
  [[nodiscard]] bool set_peer(Ref<Object>& peer) noexcept;

 protected:
  Addressable() = default;
  ~Addressable() override;

 private:
  Atomic<Object*> peer_{nullptr};
};

}  // namespace penstock
