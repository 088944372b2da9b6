// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "payload.hpp"
#include "penstock/bytes.hpp"
#include "penstock/shared_queue.hpp"

/// Messages of raw bytes in channels that processes share: a number, and then anything.
namespace penstock::model {

inline constexpr std::size_t kSmall = 16;
inline constexpr std::size_t kInPlace = SharedQueue::kLeastInPlace;

inline Status try_send(Channel& channel, std::uint64_t number, std::size_t bytes = kSmall) {
  Message message;
  put(message, number, bytes);
  return channel.try_send(message);
}

inline void send(Channel& channel, std::uint64_t number, std::size_t bytes = kSmall) {
  require(try_send(channel, number, bytes) == Status::ok, "full, although it fits");
}

/// As one that polls: somebody else may be taking a message just now.
inline void receive_polling(Channel& channel, Message& message) {
  for (unsigned turn = 0;; ++turn) {
    const Status status = channel.try_receive(message);
    if (status == Status::ok) return;
    require(status == Status::empty, "neither received nor empty");
    spin_pause(turn);
  }
}

inline std::uint64_t read_number(const Message& message) {
  std::uint64_t number = 0;
  copy_out(&number, bytes::view(message).bytes.data(), sizeof number);
  return number;
}

/// Read in place, if it is long enough.
struct InPlace : Message {
  InPlace() { take_in_place(); }
};

inline void recover(Channel& channel, unsigned process) {
  for (unsigned turn = 0; !channel.recover(process); ++turn) spin_pause(turn);
}

}  // namespace penstock::model
