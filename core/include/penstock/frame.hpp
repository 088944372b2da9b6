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
///   setup             the context's  -               -               always the first
///   request, nested   caller's pid   1: traceback    the request (call.hpp); a call is kToken
///   interrupt         call or 0      -               -               0: whatever runs
///   finish, stop      -              -               -               see Context
///   inbox             inbox          -               the message
///   inbox_lost        inbox          -               -               nobody sends there any more
///   found             question       1: yes          a pid
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
  ready = 32,
  answer,
  drop,
  watch,
  send,
  whereis,
  inbox_closed,
};

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
