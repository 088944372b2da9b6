// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <new>

#include "home.hpp"
#include "penstock/bytes.hpp"
#include "penstock/wire.hpp"
#include "ref.hpp"

namespace penstock::python {

/// A Python `bytes` object that messages refer to instead of holding a copy.
///
/// The last reference to it may go on a thread that neither has its interpreter's GIL nor may wait
/// for it (an Erlang scheduler, a thread of another interpreter). It is not destroyed there, but
/// goes on the list of its Home.
class LentBytes final : public wire::PinnedBytes {
 public:
  /// `bytes` is exactly a bytes object, of at least kPinThreshold bytes. `home`: of this
  /// interpreter; nullptr: it has none, and lends a copy. Empty when memory ran out. Needs the GIL.
  [[nodiscard]] static Ref<wire::PinnedBytes> lend(PyObject* bytes, Home* home) noexcept;
  /// The object behind `pinned`, borrowed, or nullptr: those are not bytes of this interpreter.
  [[nodiscard]] static PyObject* object_of(const wire::PinnedBytes& pinned,
                                           const Home* home) noexcept;

  /// Instead of the destructor, which needs the GIL.
  static void operator delete(LentBytes* self, std::destroying_delete_t) noexcept;

 private:
  friend class Home;
  LentBytes(PyObject* bytes, Home& home) noexcept;
  ~LentBytes() override { drop(object_); }
  static void destroy(LentBytes* self);

  Home& home_;
  const Ref<Home> keeps_home_;  // Empty for the main interpreter's.
  PyObject* const object_;
  LentBytes* next_ = nullptr;  // Returned before this one.

  // What a Home passes on after its interpreter's end is not from the interpreter's own memory.
  static_assert(bytes::kPinThreshold > 512, "Python's small objects");
};

/// While it lives, LentBytes of `home` that this thread drops are destroyed at once. Needs the GIL
/// of that interpreter.
class DropsWithGil {
 public:
  explicit DropsWithGil(const Home* home) noexcept : before_(std::exchange(home_, home)) {}
  ~DropsWithGil() { home_ = before_; }
  DropsWithGil(const DropsWithGil&) = delete;
  DropsWithGil& operator=(const DropsWithGil&) = delete;
  [[nodiscard]] static bool is_active_for(const Home& home) noexcept { return home_ == &home; }

 private:
  static constinit thread_local const Home* home_;
  const Home* const before_;
};

}  // namespace penstock::python
