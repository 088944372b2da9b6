// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "penstock/forks.hpp"

namespace penstock {

/// Mapped memory for a ring: private to the process, or a sealed memfd that another process may map
/// at an address of its own. A memfd has no name, so nothing is left behind by any crash.
///
/// Create: pages are allocated at once (ENOSPC now instead of SIGBUS later; EFBIG, and no SIGXFSZ,
/// beyond RLIMIT_FSIZE), the size is sealed (SHRINK, GROW, SEAL), and a child does not inherit
/// mapping or descriptor by fork or exec.
/// Attach: refuses a descriptor whose size is not sealed or not the expected one, because whoever
/// could shrink it could kill us with SIGBUS. Contents stay hostile: seals do not stop a peer from
/// writing, or from punching holes that read as zero.
///
/// Threads: one at a time for the object, any for the memory.
/// Errors: std::system_error from the factories.
class Segment {
 public:
  Segment() = default;
  /// Zeroed memory of this process; `bytes` is rounded up to whole pages.
  [[nodiscard]] static Segment create_private(std::size_t bytes);
  /// Zeroed memory in a sealed memfd, to be handed over by descriptor(). `name`: what it is, for
  /// who looks at the descriptors of this process: penstock-link and so on (docs/layout.md).
  [[nodiscard]] static Segment create_shared(std::size_t bytes, const char* name = "penstock");
  /// Bytes in memfds that this process has mapped.
  [[nodiscard]] static std::int64_t shared_bytes() noexcept;
  /// Maps a memfd of exactly `bytes` (rounded up to pages); takes over `descriptor`, also on
  /// failure.
  [[nodiscard]] static Segment attach(int descriptor, std::size_t bytes);

  Segment(Segment&& other) noexcept
      : memory_(std::exchange(other.memory_, {})),
        descriptor_(std::exchange(other.descriptor_, -1)),
        born_(other.born_),
        is_shared_(other.is_shared_) {}
  Segment& operator=(Segment other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(descriptor_, other.descriptor_);
    std::swap(born_, other.born_);
    std::swap(is_shared_, other.is_shared_);
    return *this;
  }
  ~Segment();

  [[nodiscard]] std::span<std::uint8_t> memory() const noexcept { return memory_; }
  /// False in a forked child: the memory is not there.
  [[nodiscard]] bool is_here() const noexcept { return born_ == Forks::count(); }
  /// Nobody is to get it from here.
  void close_descriptor() noexcept;
  /// -1 for private memory. Stays ours: dup it, or pass it over a socket.
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

 private:
  void map(int descriptor, std::size_t bytes);
  std::span<std::uint8_t> memory_;
  int descriptor_ = -1;
  std::uint32_t born_ = 0;
  bool is_shared_ = false;
};

}  // namespace penstock
