// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "penstock/ref.hpp"

namespace penstock {

class Queue;

/// One term in wire form, on its way into or out of a channel: bytes, and a reference to each
/// object that its private tags name (wire.hpp).
///
/// Short messages stay inside the object, longer ones live in one mimalloc block, which a queue
/// takes over instead of copying it, and which the receiver frees.
///
/// Threads: one at a time. Cost: no allocation up to kInside bytes.
class Message {
 public:
  static constexpr std::size_t kInside = 1024;
  static constexpr std::size_t kMaxBytes = std::size_t{1} << 31;

  Message() noexcept {}  // NOLINT(modernize-use-equals-default): leaves inside_ uninitialised.
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  ~Message() { clear(); }

  [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept { return {data_, size_}; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// What it counts against max_size: its bytes and those that it pins elsewhere.
  [[nodiscard]] std::uint64_t cost() const noexcept { return size_ + pinned_; }
  /// Bytes of the objects that it refers to.
  [[nodiscard]] std::uint64_t pinned() const noexcept { return pinned_; }

  /// Room for `count` more bytes at the end; nullptr when memory ran out or the message is too
  /// long.
  [[nodiscard]] std::uint8_t* extend(std::size_t count) noexcept {
    if (count > capacity_ - size_ && !grow(count)) return nullptr;
    std::uint8_t* room = data_ + size_;
    size_ += count;
    return room;
  }

  /// Says that the bytes now own references, to objects with `pinned` bytes of their own.
  void adopt_objects(std::uint64_t pinned) noexcept {
    owns_objects_ = true;
    is_local_ = true;
    pinned_ += pinned;
  }
  [[nodiscard]] bool owns_objects() const noexcept { return owns_objects_; }

  /// Says that the bytes hold words, besides those of pids, or objects that have a meaning in this
  /// process only.
  void mark_local() noexcept { is_local_ = true; }
  [[nodiscard]] bool is_local() const noexcept { return is_local_; }
  /// Says that the bytes come from another process, and may be anything: whoever decodes them
  /// follows no address in them.
  void mark_foreign() noexcept { is_foreign_ = true; }
  [[nodiscard]] bool is_foreign() const noexcept { return is_foreign_; }
  /// Says, of an empty one, that raw bytes need not be copied into it: it may refer to where they
  /// lie, though other processes could change them there.
  void take_in_place() noexcept { is_in_place_ = true; }
  [[nodiscard]] bool is_in_place() const noexcept { return is_in_place_; }

  /// Drops contents, references and memory.
  void clear() noexcept;
  /// Drops contents and references, and keeps memory for the next one, if that is not much.
  void reset() noexcept;

 private:
  friend class Queue;
  static constexpr std::size_t kMostKept = std::size_t{256} * 1024;
  [[nodiscard]] bool grow(std::size_t count) noexcept;
  /// Forgets the contents, whose block and references somebody else owns from now on.
  void disown() noexcept;

  std::uint8_t* data_ = inside_;
  std::size_t size_ = 0;
  std::size_t capacity_ = kInside;
  std::uint64_t pinned_ = 0;
  bool owns_objects_ = false;
  bool is_local_ = false;
  bool is_foreign_ = false;
  bool is_in_place_ = false;
  alignas(8) std::uint8_t inside_[kInside];
};

}  // namespace penstock
