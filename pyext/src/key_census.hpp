// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>

#include "ref.hpp"

namespace penstock::python {

/// Tells a dict whose keys were made to have few hashes: each key takes as long as there are others
/// with its hash, so that 100,000 multiples of 2**61 - 1 take the GIL for 45 s. Up to a million or
/// two of comparisons, some 100 ms, are let pass.
///
/// Not for str and bytes, whose hashes nobody can foretell.
///
/// Cost: nothing for dicts of less than kMany keys; beyond, 64 KiB for a while.
class KeyCensus {
 public:
  static constexpr std::uint32_t kMany = 1024;

  /// Before the first key of a dict of that many.
  void begin() noexcept { keys_ = 0, met_ = 0; }

  /// False: an exception is set, ValueError if that is no chance any more.
  [[nodiscard]] bool add(PyObject* key) {
    if (PyUnicode_CheckExact(key) || PyBytes_CheckExact(key)) return true;
    const Py_hash_t hash = PyObject_Hash(key);
    if (hash == -1) return false;
    if (places_ == nullptr) places_.reset(new (std::nothrow) Place[kPlaces]);
    if (places_ == nullptr) {
      PyErr_NoMemory();
      return false;
    }
    if (keys_ == 0) std::fill_n(places_.get(), kPlaces, 0);
    ++keys_;
    met_ += places_[mixed(static_cast<std::uint64_t>(hash)) % kPlaces]++;
    if (met_ <= kFree + std::uint64_t{keys_} * (kChance + keys_ / kPlaces)) return true;
    PyErr_SetString(PyExc_ValueError, "the keys of a map have the same hash");
    return false;
  }

 private:
  using Place = std::uint32_t;
  static constexpr std::uint32_t kPlaces = 16'384;
  /// By chance a key meets keys_ / kPlaces / 2 others. Powers of two, for one, have 61 hashes.
  static constexpr std::uint64_t kFree = 500'000, kChance = 8;

  /// The last steps of splitmix64: ints that are their own hashes are as good as random.
  [[nodiscard]] static std::uint64_t mixed(std::uint64_t hash) noexcept {
    hash = (hash ^ hash >> 30) * 0xBF58476D1CE4E5B9;
    hash = (hash ^ hash >> 27) * 0x94D049BB133111EB;
    return hash ^ hash >> 31;
  }

  std::unique_ptr<Place[]> places_;
  std::uint32_t keys_ = 0;
  std::uint64_t met_ = 0;  // How many keys were there before, where a key came to, in all.
};

}  // namespace penstock::python
