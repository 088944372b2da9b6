// SPDX-License-Identifier: Apache-2.0
// A C++ process that streams samples to a Python process: producer ADDRESS COUNT
//
// Each message is 32 samples, 64-bit floats. The consumer (consumer.py) has created the channel.
#include <array>
#include <cmath>
#include <cstdint>
#include <exception>
#include <iostream>
#include <penstock/shared_channel.hpp>
#include <span>
#include <string>

namespace {

using Samples = std::array<double, 32>;

Samples samples_from(std::uint64_t first) {
  Samples samples{};
  for (std::size_t i = 0; i < samples.size(); ++i) {
    samples[i] = std::sin(static_cast<double>(first + i) / 100);
  }
  return samples;
}

int produce(const std::string& address, std::uint64_t count) {
  const auto channel = penstock::SharedChannel::connect(address);
  for (std::uint64_t i = 0; i < count; ++i) {
    const Samples samples = samples_from(i * Samples{}.size());
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(samples.data());
    // Waits while the consumer is behind; closed is how it says that it has enough.
    const penstock::Status status = channel.send(std::span(bytes, sizeof samples));
    if (status == penstock::Status::closed) break;
    if (status != penstock::Status::ok) return 1;
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::cerr << "usage: producer ADDRESS COUNT\n";
    return 2;
  }
  try {
    return produce(arguments[1], std::stoull(arguments[2]));
  } catch (const std::exception& error) {
    std::cerr << "producer: " << error.what() << '\n';
    return 1;
  }
}
