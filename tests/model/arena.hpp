// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace penstock::model {

/// The memory of one execution: stacks of the model threads, small blocks, large blocks. Nothing is
/// used twice within an execution, so that every use after free is seen; everything starts over in
/// the next one, at the same addresses, so that an execution can be replayed.
///
/// Large blocks (from 2 KiB: slabs, message blocks) read as zero.
class Arena {
 public:
  static constexpr std::size_t kStackBytes = 64 * 1024;
  static constexpr std::size_t kStacks = 8;
  static constexpr std::size_t kSmallBytes = 1024 * 1024;
  static constexpr std::size_t kLargeBytes = 8 * 1024 * 1024;
  static constexpr std::size_t kLargeBlock = 2048;
  static constexpr std::size_t kBytes = kStacks * kStackBytes + kSmallBytes + kLargeBytes;

  struct Large {
    std::uintptr_t begin;
    std::uintptr_t end;
    std::uintptr_t touched_from;  ///< What has to be zeroed again.
    std::uintptr_t touched_to;
    bool freed;
  };

  Arena();
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  void reset();
  /// nullptr when the arena is full. `alignment` is a power of two.
  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment);
  [[nodiscard]] std::size_t size_of(const void* block) const;
  /// The block stays where it is, for ever unused. False: freed before.
  [[nodiscard]] bool release(void* block);
  /// Says that a block is meant to outlive the execution.
  void forgive(void* block);

  [[nodiscard]] std::uintptr_t base() const { return base_; }
  [[nodiscard]] bool contains(std::uintptr_t address) const { return address - base_ < kBytes; }
  [[nodiscard]] bool contains(const void* address) const {
    return contains(reinterpret_cast<std::uintptr_t>(address));
  }
  [[nodiscard]] std::byte* stack(unsigned thread) const;
  [[nodiscard]] bool is_large(std::uintptr_t address) const {
    return address - large_ < kLargeBytes;
  }
  /// The large block around `address`; nullptr if there is none.
  [[nodiscard]] Large* large_at(std::uintptr_t address);
  [[nodiscard]] std::size_t live_blocks() const { return live_; }

 private:
  struct Header {
    std::uint64_t bytes;
    std::uint32_t live;
    std::uint32_t forgiven;
  };
  static Header& header_of(const void* block);

  std::uintptr_t base_;
  std::uintptr_t small_;
  std::uintptr_t large_;
  std::uintptr_t next_small_;
  std::uintptr_t next_large_;
  std::size_t live_ = 0;
  std::vector<Large> blocks_;  // Reserved once; in order of addresses.
};

}  // namespace penstock::model
