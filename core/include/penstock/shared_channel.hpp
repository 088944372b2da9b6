// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "penstock/status.hpp"

namespace penstock {

/// A channel that C++ and Python processes of one machine share, without Erlang: a queue of
/// messages in memory that all of them map, with any number of senders and receivers in each. In
/// Python it is erlang.shared_channel().
///
///   // One process creates it ...
///   auto numbers = SharedChannel::create("@numbers", {.content = SharedChannel::Content::bytes});
///   std::vector<std::uint8_t> message;
///   while (numbers.receive(message) == Status::ok) use(message);
///
///   // ... and others, up to 62, find it by its address.
///   auto numbers = SharedChannel::connect("@numbers");
///   if (numbers.send(bytes) != Status::ok) ...
///
/// Content: messages are raw bytes, or terms as Python's erlang.Channel sends and receives them. A
/// term is here its bytes in Erlang's external term format, without the version byte in front, and
/// with a few private tags; docs/cpp.md has the table.
///
/// Order: each message is received once. Those of one sender are received in the order in which
/// they were sent.
///
/// End: close() by anybody; the creator's last copy of the object goes; the creator's process ends,
/// however that happens. Then no send succeeds, and what is queued can still be received. A process
/// that dies elsewhere leaves nothing half done: what it had sent whole is received.
///
/// Addresses: `@name` lies in the kernel's abstract namespace and is gone with its process;
/// anything else is the path of a socket, which is made with mode 0600 and removed at the end, or,
/// if its creator was killed, by the next one that creates it. Only processes of the creator's
/// user, and root, are let in; and what another user has created is refused, but not to root.
///
/// Threads: everything from any, at the same time. Copies are the same channel; the last one that
/// goes makes this process leave. Each channel has two threads of its own that sleep (three where
/// it was created), with all signals blocked. In a child by fork() without exec() it is closed; the
/// child may connect by itself.
///
/// Cost: one copy into the shared memory, one out of it; no system call unless somebody sleeps.
///
/// Errors: what is expected is a Status; the factories and invite() throw std::system_error, with
/// an errno, or std::bad_alloc.
class SharedChannel {
 public:
  enum class Content : std::uint8_t { terms, bytes };
  using Nanoseconds = std::chrono::nanoseconds;
  static constexpr Nanoseconds kForever = Nanoseconds::max();
  static constexpr std::uint64_t kDefaultSize = std::uint64_t{1} << 18;
  static constexpr std::uint64_t kMostSize = std::uint64_t{1} << 24;

  struct Options {
    /// Bytes of the largest message, 1 to kMostSize. There is room for at least two of them, in two
    /// to four times as much memory, which is allocated at once.
    std::uint64_t max_size = kDefaultSize;
    Content content = Content::bytes;
  };

  /// A new one. `address` "": only for those that are invited. Throws EADDRINUSE: somebody is
  /// there; EINVAL: max_size; ENOSPC: there is no memory for it; EFBIG: it is larger than
  /// RLIMIT_FSIZE; EMFILE.
  [[nodiscard]] static SharedChannel create(const std::string& address, const Options& options);
  [[nodiscard]] static SharedChannel create(const std::string& address) {
    return create(address, Options{});
  }

  /// The one that somebody has created. Blocks until its creator has answered, for `timeout` at
  /// most. Throws ENOENT or ECONNREFUSED: nobody is there; EPERM: it is another user's; ENOSPC: 62
  /// processes have it; ETIMEDOUT; ECONNRESET: it ended just now; EPROTO: that is something else;
  /// EPROTONOSUPPORT: another version of Penstock.
  [[nodiscard]] static SharedChannel connect(const std::string& address,
                                             Nanoseconds timeout = std::chrono::seconds(10));
  /// The same by a socket from invite(), which is taken over.
  [[nodiscard]] static SharedChannel connect(int invitation,
                                             Nanoseconds timeout = std::chrono::seconds(10));

  /// A socket by which one process may connect: for a child to inherit (it is closed on exec: dup2
  /// it), or to be sent. The caller's. Throws EINVAL: this process did not create the channel.
  [[nodiscard]] int invite() const;

  [[nodiscard]] Content content() const noexcept;
  [[nodiscard]] std::uint64_t max_size() const noexcept;

  /// Copies a message in, and waits for room for `timeout` at most; 0 is not at all. ok; full: the
  /// time is over; closed; too_large: more than max_size(); corrupt: not one term of the table;
  /// not_shared: a term that only means something to Erlang (a pid, a reference, a function);
  /// out_of_memory.
  [[nodiscard]] Status send(std::span<const std::uint8_t> message,
                            Nanoseconds timeout = kForever) const noexcept;

  /// Copies the oldest message out, in place of what `message` holds, and waits for one for
  /// `timeout` at most; 0 is not at all. ok; empty: the time is over; closed: there is none, and
  /// none will come; out_of_memory, and the message may be gone.
  [[nodiscard]] Status receive(std::vector<std::uint8_t>& message,
                               Nanoseconds timeout = kForever) const noexcept;

  /// For everybody. Idempotent.
  void close() const noexcept;
  [[nodiscard]] bool is_closed() const noexcept;
  /// Bytes that are queued; each message counts as a multiple of 64. A hint while others send.
  [[nodiscard]] std::uint64_t size() const noexcept;

 private:
  struct Handle;
  explicit SharedChannel(std::shared_ptr<const Handle> handle) noexcept;
  std::shared_ptr<const Handle> handle_;
};

}  // namespace penstock
