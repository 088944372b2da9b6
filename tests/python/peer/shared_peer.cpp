// SPDX-License-Identifier: Apache-2.0
// A C++ process for test_shared_channel.py: what it is told, with a channel that it shares with
// Python.
//
//   produce ADDRESS COUNT   sends the terms [0, <<"..">>], [1, <<"..">>] ...
//   consume ADDRESS         receives bytes to the end, and prints how many messages and bytes
//   create ADDRESS COUNT    creates a channel of bytes, sends so many messages, and ends
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "penstock/shared_channel.hpp"

namespace {

using penstock::SharedChannel;
using penstock::Status;
using Bytes = std::vector<std::uint8_t>;

/// [number, b"xx"] in external term format.
Bytes term_of(std::uint32_t number) {
  Bytes term{108, 0, 0, 0, 2, 98};
  for (int shift = 24; shift >= 0; shift -= 8) {
    term.push_back(static_cast<std::uint8_t>(number >> shift));
  }
  for (const int byte : {6, 0, 0, 0, 2, 0x78, 0x78, 106}) {
    term.push_back(static_cast<std::uint8_t>(byte));
  }
  return term;
}

int produce(const std::string& address, std::uint32_t count) {
  const auto channel = SharedChannel::connect(address);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (channel.send(term_of(i)) != Status::ok) return 1;
  }
  return 0;
}

int consume(const std::string& address) {
  const auto channel = SharedChannel::connect(address);
  Bytes message;
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
  Status status = Status::ok;
  while ((status = channel.receive(message)) == Status::ok) {
    ++messages;
    bytes += message.size();
  }
  std::cout << messages << " " << bytes << std::endl;
  return status == Status::closed ? 0 : 1;
}

int create(const std::string& address, std::uint32_t count) {
  const auto channel = SharedChannel::create(address, {.content = SharedChannel::Content::bytes});
  std::cout << "created" << std::endl;
  std::cin.get();
  for (std::uint32_t i = 0; i < count; ++i) {
    if (channel.send(Bytes(i % 1000)) != Status::ok) return 1;
  }
  return 0;
}

}  // namespace

int main(int count, char** words) {
  const std::vector<std::string> arguments(words, words + count);
  try {
    if (count == 4 && arguments[1] == "produce") {
      return produce(arguments[2], static_cast<std::uint32_t>(std::stoul(arguments[3])));
    }
    if (count == 4 && arguments[1] == "create") {
      return create(arguments[2], static_cast<std::uint32_t>(std::stoul(arguments[3])));
    }
    if (count == 3 && arguments[1] == "consume") return consume(arguments[2]);
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
  }
  return 2;
}
