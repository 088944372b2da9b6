// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <span>

#include "penstock/message.hpp"

namespace penstock {

// clang-format off
/// What the VM and a worker process say to each other over a Link. Each frame begins with a
/// FrameHead; terms are in portable form.
///
///   to the worker     id             detail          then
///   setup             the context's  kSendLogs ..,   -               always the first
///                     pid            number in the
///                                    Domain << 8
///   request, nested   caller's pid   1: traceback    the request (call.hpp); a call is kToken
///   interrupt         call or 0      -               -               0: whatever runs
///   finish, stop      -              -               -               see Context
///   inbox             inbox          -               the message
///   inbox_lost        inbox          -               -               nobody sends there any more
///   found             question       1: yes          a pid
///   channel_gone      channel        -               -               all copies of it are back
///   output_taken      bytes          -               -               of `output`, see kOutputWindow
///   output_closed     -              -               -               nobody takes any more of it
///
///   to the VM
///   ready             -              -               -               the first; requests are run
///   answer            call           Call::Outcome   the term        the VM forgets the call
///   drop              call           -               -               unanswered; likewise
///   watch             call           -               -               `forget` when its caller dies
///   send              inbox or 0     bytes of pid    the pid, the message. A call that cannot be
///                                                    delivered comes back to that inbox
///   whereis           question       -               the name in UTF-8
///   inbox_closed      inbox          -               -               its thread has ended
///   channel_back      channel        how many        -               copies are no more
///   output            -              -               the message     to py_output
///   sync              number         -               -               the same to inbox 0, once all
///                                                    output before it was handled
///   no_memory         -              -               -               to receive: it is about to end
///
/// An inbox and a call are named by who has it: the worker numbers its inboxes, the VM its calls.
// clang-format on
enum class FrameKind : std::uint32_t {
  setup = 1,
  request,
  nested,
  interrupt,
  finish,
  stop,
  inbox,
  inbox_lost,
  found,
  channel_gone,
  output_taken,
  output_closed,
  ready = 32,
  answer,
  drop,
  watch,
  send,
  whereis,
  inbox_closed,
  channel_back,
  output,
  sync,
  no_memory,
};

/// What of Python's output a worker is to send.
inline constexpr std::uint32_t kSendLogs = 1;
inline constexpr std::uint32_t kSendText = 2;
/// From which bit of `setup`'s detail on the worker's number is.
inline constexpr unsigned kSetupNumber = 8;

/// A worker sends `output` and `sync` while less than this has not been answered for.
inline constexpr std::uint64_t kOutputWindow = std::uint64_t{256} << 10;
/// What one of them counts for, `bytes` long behind its head.
[[nodiscard]] constexpr std::uint64_t output_cost(std::size_t bytes) noexcept { return bytes + 64; }

struct FrameHead {
  FrameKind kind;
  std::uint32_t detail;
  std::uint64_t id;
};
static_assert(sizeof(FrameHead) == 16);

/// False when memory ran out.
[[nodiscard]] inline bool begin_frame(Message& frame, FrameKind kind, std::uint64_t id = 0,
                                      std::uint32_t detail = 0) noexcept {
  const FrameHead head{kind, detail, id};
  std::uint8_t* const room = frame.extend(sizeof head);
  if (room == nullptr) return false;
  std::memcpy(room, &head, sizeof head);
  return true;
}

/// False: it has none.
[[nodiscard]] inline bool read_frame(std::span<const std::uint8_t> frame, FrameHead* head,
                                     std::span<const std::uint8_t>* rest) noexcept {
  if (frame.size() < sizeof *head) return false;
  std::memcpy(head, frame.data(), sizeof *head);
  *rest = frame.subspan(sizeof *head);
  return true;
}

}  // namespace penstock
