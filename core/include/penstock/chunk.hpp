// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "penstock/ref.hpp"
#include "penstock/shim.hpp"
#include "penstock/wire.hpp"

namespace penstock {

/// A piece of a byte stream: memory of its own that is filled from the front, or bytes that live
/// elsewhere. Never moves. The stream owns one reference, each view of its bytes another one.
///
/// Threads: filled by one writer at a time; the bytes before the stream's written position are
/// immutable and may be read by anybody who has a reference.
///
/// Edges:
///   B2  set_next, release -> next, acquire: the next chunk's fields.
class Chunk final : public Object {
 public:
  /// Room for `capacity` bytes; nullptr when memory ran out.
  [[nodiscard]] static Chunk* create(std::uint64_t start, std::size_t capacity) noexcept;
  /// Takes `bytes` over unless it is nullptr that is returned.
  [[nodiscard]] static Chunk* create(std::uint64_t start, Ref<wire::PinnedBytes>& bytes) noexcept;

  /// Position in the stream of the first byte.
  [[nodiscard]] std::uint64_t start() const noexcept { return start_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] const std::uint8_t* data() const noexcept { return data_; }
  [[nodiscard]] bool is_pinned() const noexcept { return static_cast<bool>(pinned_); }
  /// Its own memory; nullptr: the bytes belong to somebody else.
  [[nodiscard]] std::uint8_t* room() noexcept { return room_; }

  [[nodiscard]] Chunk* next() const noexcept { return next_.load(order::acquire("B2")); }
  void set_next(Chunk* next) noexcept { next_.store(next, order::release("B2")); }

  static void operator delete(void* memory) noexcept;

 private:
  Chunk(std::uint64_t start, std::size_t capacity, std::uint8_t* room) noexcept
      : start_(start), capacity_(capacity), data_(room), room_(room) {}
  ~Chunk() override = default;

  const std::uint64_t start_;
  std::size_t capacity_;
  const std::uint8_t* data_;
  std::uint8_t* const room_;
  Ref<wire::PinnedBytes> pinned_;
  Atomic<Chunk*> next_{nullptr};
};

}  // namespace penstock
