// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "penstock/message.hpp"
#include "penstock/shared.hpp"
#include "penstock/shim.hpp"
#include "penstock/status.hpp"
#include "penstock/waiter.hpp"

namespace penstock {

class ByteStream;

/// Where the bytes of a stream are between the process that writes and the one that reads, if other
/// processes use it, too (SharedStream). Each process has a ByteStream of its own over the same
/// memory; that of the one that reads takes the bytes over.
///
/// Threads: any, but for what is said of each part.
class StreamStore : public SharedMemory {
 public:
  /// False in a forked child, which has none of the memory.
  [[nodiscard]] virtual bool is_usable() const noexcept = 0;
  /// The stream that owns this, once.
  virtual void belongs_to(ByteStream& stream) = 0;

  // Writing, in the process that made it
  // ------------------------------------------------------------------------------------------

  /// Copies all of them, or nothing: as ByteStream::write(), or corrupt.
  [[nodiscard]] virtual Status write(std::span<const std::uint8_t> bytes) noexcept = 0;
  /// The first end counts.
  virtual void close() noexcept = 0;
  /// ok, too_large (the reason has no room), not_shared or out_of_memory, and it goes on.
  [[nodiscard]] virtual Status abort(const Message* reason) noexcept = 0;
  /// Whether somebody could read, and nobody can any more.
  [[nodiscard]] virtual bool is_abandoned() const noexcept = 0;

  // Both
  // ------------------------------------------------------------------------------------------

  /// A hint for who reads; exact for who writes.
  [[nodiscard]] virtual std::uint64_t written() const noexcept = 0;
  /// A hint, never above written().
  [[nodiscard]] virtual std::uint64_t read() const noexcept = 0;
  /// No write succeeds any more.
  [[nodiscard]] virtual bool is_ended() const noexcept = 0;
  [[nodiscard]] virtual bool is_closed_by_reader() const noexcept = 0;
  virtual void close_by_reader() noexcept = 0;
  /// A writer found no room since that was last asked.
  virtual void press() noexcept = 0;
  [[nodiscard]] virtual bool is_pressed() const noexcept = 0;
  [[nodiscard]] virtual bool take_pressed() noexcept = 0;

  // Reading: one thread at a time, in the process whose turn it is
  // ------------------------------------------------------------------------------------------

  /// Whether somebody in this process might read. False ends its turn, too.
  virtual void set_reader(bool is_there) noexcept = 0;
  enum class Turn : std::uint8_t { ours, begins, others };
  /// One process reads at a time: the first that asks, until nobody in it might read any more.
  /// `begins`: from `*position` on.
  [[nodiscard]] virtual Turn take_turn(std::uint64_t* position) noexcept = 0;

  enum class Fate : std::uint8_t {
    open,
    closed,
    aborted,           ///< See reason().
    closed_by_reader,  ///< In any process.
    lost,              ///< Who read before has taken bytes along that it did not deliver.
    corrupt,           ///< Also in a forked child, which has none of the memory.
  };
  struct There {
    Fate fate;
    std::uint64_t written;  ///< What came before the end is counted.
  };
  /// `taken`: how far the bytes have been taken over.
  [[nodiscard]] virtual There look(std::uint64_t taken) const noexcept = 0;
  /// Those of [from, to) that are in one piece; as long as they are not given back.
  [[nodiscard]] virtual std::span<const std::uint8_t> bytes(std::uint64_t from,
                                                            std::uint64_t to) const noexcept = 0;
  /// A copy; nullptr when memory ran out.
  [[nodiscard]] virtual std::unique_ptr<Message> reason() const noexcept = 0;
  /// The position of the reader; what is before it is given back. Returns what was given back.
  [[nodiscard]] virtual std::uint64_t read_to(std::uint64_t position) noexcept = 0;
  /// How far what was written may be written over. A hint.
  [[nodiscard]] virtual std::uint64_t given_back() const noexcept = 0;
  /// Gives back what is before `position`, read or not.
  virtual void set_aside(std::uint64_t position) noexcept = 0;

  // Those that wait in other processes
  // ------------------------------------------------------------------------------------------

  [[nodiscard]] virtual FarWaiters& data() noexcept = 0;
  [[nodiscard]] virtual FarWaiters& space() noexcept = 0;
  /// The least position that is waited for, in any process: of bytes written, and given back.
  [[nodiscard]] virtual Atomic<std::uint64_t>& wanted_data() noexcept = 0;
  [[nodiscard]] virtual Atomic<std::uint64_t>& wanted_space() noexcept = 0;
  /// The process with that number is proved to be dead.
  virtual void recover(unsigned process) noexcept = 0;
};

}  // namespace penstock
