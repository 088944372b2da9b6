// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "penstock/channel.hpp"
#include "penstock/descriptors.hpp"
#include "penstock/ref.hpp"

/// Channels that processes share without a VM. The process that creates one lets others in: who
/// finds it by an address, or was given a socket, belongs to the same user (or is root), and shows
/// which process it is, gets the memory. It also undoes what those leave half done that die.
///
/// The channel ends when its creator lets go of it or dies: it is closed, and what is queued can
/// still be received. Then those that are left watch each other.
///
/// Addresses: `@name` is in the kernel's abstract namespace, and gone with the process; anything
/// else is the path of a socket that this makes, with mode 0600.
///
/// Threads: any. Everything throws system_error or bad_alloc.
namespace penstock::sharing {

/// A new one, for messages of up to `max_size` bytes (0: SharedQueue::kDefaultSize). `address` "":
/// for those only that are invited. EADDRINUSE: somebody is there; a path that a dead process left
/// is taken over. ENOSPC, EFBIG: see Segment.
[[nodiscard]] Ref<Channel> create(const std::string& address, std::uint64_t max_size,
                                  Channel::Content content);

/// A socket by which one process may connect: to be inherited by it, or sent. EINVAL: this process
/// did not create that channel.
[[nodiscard]] Descriptor invite(const Channel& channel);

struct Patience {
  std::int64_t deadline_ns;
  /// Asked when a signal has come: true, wait no longer (EINTR).
  std::function<bool()> is_interrupted = {};
};

/// The channel that somebody created. ENOENT or ECONNREFUSED: nobody is there; EPERM: it is
/// another user's; ENOSPC: it has as many processes as it can; ETIMEDOUT; ECONNRESET: it ended just
/// now; EPROTO: that is something else; EPROTONOSUPPORT: another version.
[[nodiscard]] Ref<Channel> connect(const std::string& address, const Patience& patience);
/// By an invitation.
[[nodiscard]] Ref<Channel> connect(Descriptor invitation, const Patience& patience);

/// The paths of channels that this process has created are removed. For a process that ends without
/// letting go of them.
void remove_names() noexcept;

}  // namespace penstock::sharing
