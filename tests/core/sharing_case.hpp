// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "penstock/shared_channel.hpp"
#include "support.hpp"

/// What the tests of channels between processes without a VM share.
namespace penstock::test {

using namespace std::chrono_literals;
using Bytes = std::vector<std::uint8_t>;
using Content = SharedChannel::Content;

/// Of this process's own, so that runs do not meet.
inline std::string address(const std::string& name) {
  return "@penstock-test-" + std::to_string(getpid()) + "-" + name;
}

inline Bytes bytes_of(std::uint64_t number) {
  Bytes bytes(8);
  std::memcpy(bytes.data(), &number, 8);
  return bytes;
}

inline std::uint64_t number_in(const Bytes& bytes) {
  std::uint64_t number = 0;
  if (bytes.size() >= 8) std::memcpy(&number, bytes.data(), 8);
  return number;
}

/// The errno that `body` fails with; 0: none.
template <class Body>
int error_of(Body body) {
  try {
    body();
  } catch (const std::system_error& error) {
    return error.code().value();
  }
  return 0;
}

inline std::size_t entries_of(const char* folder) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    (void)entry;
    ++count;
  }
  return count;
}

/// Of a process.
struct Belongings {
  std::size_t descriptors = entries_of("/proc/self/fd");
  std::size_t threads = entries_of("/proc/self/task");
};

/// A case that leaves nothing behind. Threads and descriptors go soon after their objects; those of
/// a case before it may do so now.
class Tidy : public testing::Test {
 protected:
  void TearDown() override {
    for (Patience patience; patience.another_turn();) {
      const Belongings now;
      if (now.descriptors <= before_.descriptors && now.threads <= before_.threads) return;
    }
    const Belongings now;
    ADD_FAILURE() << now.descriptors << " of " << before_.descriptors << " descriptors, "
                  << now.threads << " of " << before_.threads << " threads";
  }

 private:
  // With a process's first thread ThreadSanitizer begins one of its own, which stays.
  const Belongings before_ = (std::thread([] {}).join(), Belongings{});
};

}  // namespace penstock::test
