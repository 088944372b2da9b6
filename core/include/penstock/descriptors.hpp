// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace penstock {

/// One that is closed at the end, or none.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) noexcept : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(other.take()) {}
  Descriptor& operator=(Descriptor other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor();
  [[nodiscard]] int get() const noexcept { return number_; }
  [[nodiscard]] int take() noexcept { return std::exchange(number_, -1); }

 private:
  int number_ = -1;
};

/// Most that one message carries.
inline constexpr std::size_t kMostDescriptors = 4;

/// Sends bytes, at least one, and with them copies of `descriptors` over a unix socket: 0 or an
/// errno. With MSG_DONTWAIT among `flags` it is EAGAIN where it would have to wait.
[[nodiscard]] int send_descriptors(int socket, std::span<const std::uint8_t> bytes,
                                   std::span<const int> descriptors, int flags = 0) noexcept;
/// Receives what was sent so, blocking. How many bytes; 0: the other end is gone; -1 and errno. The
/// descriptors, closed on exec, are the caller's; those that did not come are -1.
[[nodiscard]] ssize_t receive_descriptors(int socket, std::span<std::uint8_t> bytes,
                                          std::span<int> descriptors) noexcept;

}  // namespace penstock
