// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace penstock::kill {

/// What a victim finds where: descriptors that its parent passed.
inline constexpr int kFirstDescriptor = 200, kSecondDescriptor = 201, kReportDescriptor = 202;

enum class Fate : std::uint8_t { dies, stops };

/// A place in the code: file and line, or fail point, and what is done there.
struct Place {
  char text[64];
};

/// Before which access to shared memory, or call that wakes or waits for somebody, a victim meets
/// its fate: the `access`th of all, or the `hit`th at a place. Neither: somebody else sees to it.
struct Target {
  std::uint64_t access = 0;
  Place place{};
  std::uint64_t hit = 0;
};

/// What a victim tells of itself, in a page of its own: not watched, and there after its death.
struct Report {
  static constexpr std::size_t kMostPlaces = 256;
  static constexpr std::size_t kMostReceived = std::size_t{1} << 16;

  std::atomic<std::uint64_t> go;  ///< Steps of its script that it may take. The parent's.

  std::atomic<std::uint64_t> accesses;
  std::atomic<std::uint64_t> begun;     ///< Messages that it started to send.
  std::atomic<std::uint64_t> sent;      ///< And of which it knows that they are.
  std::atomic<std::uint64_t> received;  ///< Messages that it has.
  std::atomic<std::uint64_t> failures;  ///< Of what it expected.
  std::atomic<std::uint32_t> lock;      ///< Guards the places.
  std::uint32_t places_count;
  Place places[kMostPlaces];
  Place fate;                            ///< Where it met it.
  std::uint64_t numbers[kMostReceived];  ///< Of the messages that it has.
};

/// Messages say who sent them, as which; their size and bytes follow from that.
inline constexpr std::uint64_t kVictim = 2;
[[nodiscard]] constexpr std::uint64_t number_of(std::uint64_t sender, std::uint64_t index) {
  return sender << 32 | index;
}

}  // namespace penstock::kill
