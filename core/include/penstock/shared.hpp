// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "penstock/ref.hpp"

namespace penstock {

/// What somebody must know to attach to memory that processes share.
struct SharedShape {
  /// A channel's messages (as Channel::Content), or a stream.
  static constexpr std::uint32_t kTerms = 0, kBytes = 1, kStream = 2;

  std::uint64_t capacity = 0;
  std::uint64_t max_size = 0;
  std::uint64_t content_length = UINT64_MAX;  ///< Of a stream, if it is announced.
  std::uint32_t content = kTerms;
  std::uint32_t retains = 0;  ///< Of a stream.
};

/// Memory that can be passed on to another process.
class SharedMemory {
 public:
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  virtual ~SharedMemory() = default;
  [[nodiscard]] virtual int descriptor() const noexcept = 0;
  [[nodiscard]] virtual SharedShape shape() const noexcept = 0;

 protected:
  SharedMemory() = default;
};

/// A channel or a stream: what lies in such memory if it was made for that. Each process has an
/// object of its own over the same memory.
///
/// Threads: any.
class Shareable : public Addressable {
 public:
  /// nullptr: only this process uses it.
  [[nodiscard]] virtual const SharedMemory* shared_memory() const noexcept = 0;

  /// For the thread that other processes call: somebody here may have waited long enough.
  virtual void look_for_waiters() noexcept = 0;
  /// A process that used this is proved to be dead: what it had begun is undone, and everybody is
  /// woken. False: not now.
  [[nodiscard]] virtual bool recover(unsigned process) noexcept = 0;

 protected:
  Shareable() = default;
};

/// What goes to a process together with a descriptor, before a message names the object.
struct PassedObject {
  std::uint64_t number;
  SharedShape shape;
  [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept {
    return {reinterpret_cast<const std::uint8_t*>(this), sizeof *this};
  }
};
static_assert(sizeof(PassedObject) == 40);

}  // namespace penstock
