// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <span>

#include "penstock/descriptors.hpp"
#include "penstock/shared_queue.hpp"

/// What processes say to each other over a unix socket of packets until they share a channel.
///
///   guest      creator
///   hello  ─►
///          ◄─  hello      each has the other's pid now, and opens its pidfd,
///   here   ─►
///          ◄─  welcome    and from this it knows that the pidfd is that process's: who says this
///                         has the pid that was asked for. With descriptors and a number.
///   bye    ─►             nothing there touches the memory any more
///
/// Instead of what it says the creator may say `refused`, with an errno.
namespace penstock::sharing {

enum class Kind : std::uint32_t { hello = 1, here, welcome, refused, bye };

/// A packet, with the credentials of who sent it, which the kernel checks.
struct Note {
  static constexpr std::uint32_t kMagic = 0x74656D70;  // "pmet" on x86-64.
  static constexpr std::uint32_t kVersion = 1;

  std::uint32_t magic = kMagic;
  std::uint32_t version = kVersion;
  Kind kind = Kind::hello;
  std::uint32_t detail = 0;  ///< welcome: the guest's number; refused: an errno.
  // welcome: the channel's shape.
  std::uint64_t capacity = 0;
  std::uint64_t max_size = 0;
  std::uint32_t content = 0;
  std::uint32_t reserved = 0;

  void set_shape(const SharedShape& shape) noexcept {
    capacity = shape.capacity;
    max_size = shape.max_size;
    content = shape.content;
  }
  [[nodiscard]] SharedShape shape() const noexcept {
    SharedShape shape;
    shape.capacity = capacity;
    shape.max_size = max_size;
    shape.content = content;
    return shape;
  }
};
static_assert(sizeof(Note) == 40);

struct ReceivedNote {
  Note note;
  pid_t pid = 0;
  uid_t uid = 0;
  Descriptor bells, channel;  ///< welcome.
};

/// 0 or an errno; never blocks.
[[nodiscard]] int send_note(int socket, const Note& note,
                            std::span<const int> descriptors = {}) noexcept;
/// The next packet: 0; EAGAIN, there is none yet; ECONNRESET, nobody is there any more; EPROTO, it
/// is none of ours; or another errno. Never blocks.
[[nodiscard]] int receive_note(int socket, ReceivedNote* received) noexcept;
/// Has packets that come from now on bring credentials. 0 or an errno.
[[nodiscard]] int ask_for_credentials(int socket) noexcept;

/// Whether this process may deal with one of that user.
[[nodiscard]] bool is_trusted(uid_t uid) noexcept;
/// The user that was at the other end when the socket was connected.
[[nodiscard]] bool is_peer_trusted(int socket) noexcept;

/// A pidfd; negative: there is no such process.
[[nodiscard]] Descriptor open_process(pid_t pid) noexcept;
/// Whether the process of a pidfd has ended.
[[nodiscard]] bool has_ended(const Descriptor& process) noexcept;

}  // namespace penstock::sharing
