// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <new>

#include "penstock/shim.hpp"
#include "penstock/wire.hpp"
#include "ref.hpp"

namespace penstock::python {

/// A Python `bytes` object that messages refer to instead of holding a copy.
///
/// The last reference to it may go on a thread that neither has the GIL nor may wait for it (an
/// Erlang scheduler). It is not destroyed there, but goes on the list of ReturnedBytes.
class LentBytes final : public wire::PinnedBytes {
 public:
  /// `bytes` is exactly a bytes object. Empty when memory ran out. Needs the GIL.
  [[nodiscard]] static Ref<wire::PinnedBytes> lend(PyObject* bytes) noexcept;
  /// The object behind `pinned`, borrowed, or nullptr: those are not Python's bytes.
  [[nodiscard]] static PyObject* object_of(const wire::PinnedBytes& pinned) noexcept;

  /// Instead of the destructor, which needs the GIL.
  static void operator delete(LentBytes* self, std::destroying_delete_t) noexcept;

 private:
  friend class ReturnedBytes;
  explicit LentBytes(PyObject* bytes) noexcept;
  ~LentBytes() override { drop(object_); }
  static void destroy(LentBytes* self);

  PyObject* const object_;
  LentBytes* next_ = nullptr;  // Returned before this one.
};

/// Bytes objects that nobody refers to any more but Penstock: dropped by the next call of a channel
/// with the GIL, or, if there is none, soon by the interpreter's main thread (in a plain python3:
/// when that runs Python code), which is told so once for a burst.
///
/// Threads: add any, lock-free, one system call for a burst; everything else with the GIL.
///
/// Edges:
///   K4  add() links, release -> drop_all() empties, acquire: the object.
///   K5  collect() clears told_ by an exchange before it empties the list, add() links before it
///       sets told_ by an exchange; whichever exchange is second sees the other's earlier write, so
///       what is added too late for this collect() is told again.
class ReturnedBytes {
 public:
  void add(LentBytes& bytes) noexcept;
  /// Cost: one load if there are none.
  void drop_all() {
    if (newest_.load(order::relaxed) != nullptr) drop_list();
  }

  /// For whoever was told: whether there is something to collect. Needs no GIL.
  [[nodiscard]] bool is_told() const noexcept { return told_.load(order::relaxed) != 0; }
  void collect();

 private:
  void drop_list();
  void tell() noexcept;
  Atomic<LentBytes*> newest_{nullptr};
  Atomic<std::uint32_t> told_{0};
};

/// The process's one.
[[nodiscard]] ReturnedBytes& returned_bytes() noexcept;

/// While it lives, LentBytes that this thread drops are destroyed at once. Needs the GIL.
class DropsWithGil {
 public:
  DropsWithGil() noexcept : before_(std::exchange(active_, true)) {}
  ~DropsWithGil() { active_ = before_; }
  DropsWithGil(const DropsWithGil&) = delete;
  DropsWithGil& operator=(const DropsWithGil&) = delete;
  [[nodiscard]] static bool is_active() noexcept { return active_; }

 private:
  static constinit thread_local bool active_;
  const bool before_;
};

}  // namespace penstock::python
