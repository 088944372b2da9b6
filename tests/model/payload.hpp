// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "explorer.hpp"
#include "penstock/message.hpp"

namespace penstock::model {

/// A message that carries one number in its first eight bytes. Above kMaxInside (24 under the
/// explorer, see queue.cpp) it goes by pointer, and then it must be longer than Message::kInside.
inline constexpr std::size_t kShort = 8;
inline constexpr std::size_t kLong = 1100;

inline void put(Message& message, std::uint64_t number, std::size_t bytes = kShort) {
  std::uint8_t* const room = message.extend(bytes);
  require(room != nullptr, "no memory for a message");
  std::memcpy(room, &number, sizeof number);
}

/// The number, and the message is empty afterwards.
inline std::uint64_t number_in(Message& message, std::size_t bytes = kShort) {
  require(message.size() == bytes, "a message arrived with another length");
  std::uint64_t number = 0;
  std::memcpy(&number, message.bytes().data(), sizeof number);
  message.clear();
  return number;
}

/// Numbers of producers: 10 * producer + 1, 2, …; each must arrive in order, once.
class InOrder {
 public:
  void accept(std::uint64_t number) {
    std::uint64_t const producer = number / 10;
    require(producer < kProducers && number % 10 == ++last_[producer],
            "a message was lost, doubled, torn or overtaken");
    ++total_;
  }
  [[nodiscard]] unsigned total() const { return total_; }
  [[nodiscard]] std::uint64_t from(std::size_t producer) const { return last_[producer]; }

 private:
  static constexpr std::size_t kProducers = 4;
  std::uint64_t last_[kProducers] = {};
  unsigned total_ = 0;
};

}  // namespace penstock::model
