// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "ref.hpp"

namespace penstock::python {

/// What atoms of this VM read as in Python: the word of each atom seen so far, and its interned str
/// (or True, False, None).
///
/// Threads: with the GIL. Cost: one multiplication and usually one probe. Memory: 16 bytes a slot,
/// at most four slots an atom; the VM's atom table bounds it.
class AtomCache {
 public:
  /// A borrowed reference, or nullptr: not seen yet.
  [[nodiscard]] PyObject* find(std::uint64_t word) const noexcept {
    if (slots_ == nullptr) return nullptr;
    for (std::uint64_t at = place(word);; ++at) {
      const Slot& slot = slots_[at & mask_];
      if (slot.value == nullptr || slot.word == word) return slot.value;
    }
  }
  /// Keeps `value` for good. False when memory ran out, and then it is not kept.
  bool insert(std::uint64_t word, PyObject* value) noexcept;
  void clear() noexcept;

 private:
  struct Slot {
    std::uint64_t word;
    PyObject* value;
  };
  [[nodiscard]] static std::uint64_t place(std::uint64_t word) noexcept {
    return word * 0x9E3779B97F4A7C15 >> 32;
  }
  [[nodiscard]] bool grow() noexcept;
  void put(std::uint64_t word, PyObject* value) noexcept;

  std::unique_ptr<Slot[]> slots_;
  std::uint64_t mask_ = 0;
  std::uint64_t used_ = 0;
};

}  // namespace penstock::python
