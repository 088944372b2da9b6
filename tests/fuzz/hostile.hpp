// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "input.hpp"

namespace penstock::fuzz {

/// Another process that writes to `memory` whenever it likes, also between two reads of the same
/// word, for a scope: before each access of ours the input says whether, and what.
class Hostile {
 public:
  Hostile(Input& input, std::span<std::uint8_t> memory);
  ~Hostile();
  Hostile(const Hostile&) = delete;
  Hostile& operator=(const Hostile&) = delete;

  /// Does `call`, which must not take longer than the memory is long, whatever is written there.
  template <class Call>
  void bounded(Call call) {
    restart();
    call();
    require(is_within_bounds());
  }

 private:
  static void restart();
  static bool is_within_bounds();
};

}  // namespace penstock::fuzz
