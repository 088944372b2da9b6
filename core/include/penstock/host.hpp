// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "penstock/message.hpp"
#include "penstock/status.hpp"

namespace penstock {

class Channel;
class ThreadWaiter;

/// All that Python knows about Erlang. Implemented by the NIF inside the VM, by the uplink in a
/// worker process; absent in a plain python3.
///
/// Threads: any, except an Erlang scheduler. Nothing here blocks or takes the GIL, so it may be
/// called with or without it.
class Host {
 public:
  /// Sends the term in `message` to the process whose wire form `pid` is: ok, unreachable, limit or
  /// corrupt; from a worker process also not_shared. There ok only says that it is on its way; if
  /// it is a call that comes to nothing, the thread with that `inbox` is told so. The message is
  /// left as it is.
  [[nodiscard]] virtual Status send(std::span<const std::uint8_t> pid, const Message& message,
                                    const Channel* inbox = nullptr) noexcept = 0;
  /// Appends the pid registered under `name` in wire form: ok, unreachable, or out_of_memory.
  [[nodiscard]] virtual Status whereis(std::string_view name, Message& pid) noexcept = 0;
  /// The atom called `utf8` (at most 255 characters): ok, limit (too many new atoms), too_large.
  [[nodiscard]] virtual Status atom(std::string_view utf8, std::uint64_t& word) noexcept = 0;
  /// Writes the UTF-8 name of an atom word to `name` (1020 bytes suffice); its length, or 0 and
  /// *ok false if that is not an atom.
  [[nodiscard]] virtual std::size_t atom_name(std::uint64_t word, std::span<char> name,
                                              bool* ok) noexcept = 0;
  /// Whether a word that comes from another process may be a local pid's.
  [[nodiscard]] virtual bool is_pid(std::uint64_t word) noexcept = 0;

  /// For a thread that waits for something in its `inbox`: delivers what comes from Erlang, until
  /// `until_ns` of CLOCK_MONOTONIC, something is there, or `me` is interrupted; true: one of these.
  /// False also if it comes without that.
  [[nodiscard]] virtual bool look_out(std::int64_t /*until_ns*/, const ThreadWaiter* /*me*/,
                                      const Channel& /*inbox*/) noexcept {
    return false;
  }

 protected:
  Host() = default;
  ~Host() = default;
};

/// The process's host, or nullptr. Set once, before Python starts; a forked child has none.
/// Edge H1: set_host, release -> host, acquire: the host is constructed.
[[nodiscard]] Host* host() noexcept;
void set_host(Host* host) noexcept;

}  // namespace penstock
