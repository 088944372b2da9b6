// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/message.hpp"
#include "penstock/shared.hpp"
#include "penstock/status.hpp"
#include "penstock/waiter.hpp"

namespace penstock {

class Channel;

/// What a channel keeps its messages in if other processes use it, too (SharedQueue). Each process
/// has a Channel of its own over the same memory.
///
/// Threads: any, but for pop() and recover().
class SharedStore : public SharedMemory {
 public:
  /// False in a forked child, which has none of the memory.
  [[nodiscard]] virtual bool is_usable() const noexcept = 0;
  /// The channel that owns this, once.
  virtual void belongs_to(Channel& channel) = 0;

  /// Copies the message: ok, full, closed, too_large, not_shared, corrupt or out_of_memory.
  [[nodiscard]] virtual Status push(const Message& message) noexcept = 0;
  /// Copies the oldest message out, into an empty one that is marked as foreign: ok, empty, closed
  /// (and drained), corrupt, or out_of_memory and it stays. empty is also said while another
  /// process takes one. Or, if it may be, it is read in place. `*is_wanted`: somebody found us at
  /// it, and may sleep. A fence lies behind the room that is given back. One thread of each process
  /// at a time.
  [[nodiscard]] virtual Status pop(Message& message, bool* is_wanted) noexcept = 0;
  /// Hints.
  [[nodiscard]] virtual bool has_record() const noexcept = 0;
  [[nodiscard]] virtual bool has_room() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  /// Bytes of the message that pop() would copy, or more.
  [[nodiscard]] virtual std::uint64_t next_size() const noexcept = 0;

  virtual void close() noexcept = 0;
  [[nodiscard]] virtual bool is_closed() const noexcept = 0;
  /// Whether somebody in this process could still send.
  virtual void set_sender(bool is_there) noexcept = 0;
  /// Whether somebody in any process could.
  [[nodiscard]] virtual bool has_sender() const noexcept = 0;

  /// Those that wait in other processes.
  [[nodiscard]] virtual FarWaiters& data() noexcept = 0;
  [[nodiscard]] virtual FarWaiters& space() noexcept = 0;

  /// Gives back the room of what is no longer read in place. True: as `*is_wanted`. As pop().
  [[nodiscard]] virtual bool collect() noexcept = 0;
  /// The process with that number is proved to be dead: what it had begun is undone. False: not
  /// now, a living one is taking a message. As pop().
  [[nodiscard]] virtual bool recover(unsigned process) noexcept = 0;

 protected:
  SharedStore() = default;
};

}  // namespace penstock
