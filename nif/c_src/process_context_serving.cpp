// SPDX-License-Identifier: Apache-2.0
// What comes from the worker.
#include <algorithm>
#include <cstring>
#include <utility>

#include "inbox_relay.hpp"
#include "output_relay.hpp"
#include "penstock/wire.hpp"
#include "process_context.hpp"
#include "vm_host.hpp"

namespace penstock::nif {

// From the worker
// ------------------------------------------------------------------------------------------------

/// closed: it is gone; corrupt; out_of_memory.
Status ProcessContext::serve() noexcept {
  Message frame;
  for (;;) {
    std::int64_t const kill_at = kill_at_ns_.load(order::relaxed);
    Status status = link_->receive(frame, kill_at);
    if (status == Status::empty) {
      if (now_ns() >= kill_at) return Status::closed;
      continue;
    }
    if (status == Status::ok) status = deal_with(frame);
    if (status != Status::ok) return status;
    frame.clear();
    if (kill_at != kNoDeadline && now_ns() >= kill_at) return Status::closed;
  }
}

bool ProcessContext::look_out(std::int64_t for_ns) noexcept {
  Link::Look look(*link_);
  if (!look) return false;
  if (take_some(look)) return true;
  if (for_ns == 0) return false;
  // Others may run as well, who are answered in turns.
  const bool is_one_of_many = in_hands_.load(order::relaxed) > 1;
  std::int64_t const until = now_ns() + (is_one_of_many ? std::min(for_ns, kShortLook_ns) : for_ns);
  do {
    for (int each = 0; each < 16; ++each) {
      if (take_some(look)) return true;
      for (int pause = 0; pause < 4; ++pause) spin_pause(0);
    }
  } while (now_ns() < until);
  return false;
}

/// Whether something was there.
bool ProcessContext::take_some(Link::Look& look) noexcept {
  if (!look.is_something_there()) return false;
  std::size_t bytes = 0;
  for (int taken = 0; taken < kMostTaken && bytes < kMostBytes / 4; ++taken) {
    Status status = look.take(frame_, kMostBytes);
    if (status == Status::empty || status == Status::out_of_memory) break;
    bytes += frame_.size();
    if (status == Status::ok) status = deal_with(frame_);
    if (status != Status::ok) {
      look.give_up();
      break;
    }
    frame_.reset();
  }
  return true;
}

Status ProcessContext::deal_with(const Message& frame) noexcept {
  FrameHead head{};
  std::span<const std::uint8_t> rest;
  const Status status =
      read_frame(frame.bytes(), &head, &rest) ? take(head, rest) : Status::corrupt;
  if (const Ref<InboxRelay> inbox = std::exchange(new_inbox_, {})) inbox->open();
  return status;
}

Status ProcessContext::take(const FrameHead& head, std::span<const std::uint8_t> rest) noexcept {
  switch (head.kind) {
    case FrameKind::answer:
      return take_answer(head, rest);
    case FrameKind::drop:
      (void)forget_call(head.id);
      return Status::ok;
    case FrameKind::watch:
      watch(head.id);
      return Status::ok;
    case FrameKind::send:
      return take_send(head, rest);
    case FrameKind::inbox_closed:
      if (const Ref<InboxRelay> inbox = inbox_of(head.id)) inbox->lose();
      return Status::ok;
    case FrameKind::whereis:
      return look_up(head.id, rest);
    case FrameKind::channel_back:
      take_back(head.id, head.detail);
      return Status::ok;
    case FrameKind::output:
    case FrameKind::sync:
      return take_output(head, rest);
    case FrameKind::no_memory:
      is_without_memory_ = true;
      return Status::ok;
    default:
      return Status::corrupt;
  }
}

/// One that comes late means nobody.
Status ProcessContext::take_answer(const FrameHead& head,
                                   std::span<const std::uint8_t> term) noexcept {
  if (head.detail > static_cast<std::uint32_t>(Call::Outcome::ok)) return Status::corrupt;
  const Status status = wire::from_portable(term, *this, answer_);
  const Ref<Call> call = status == Status::ok ? forget_call(head.id) : Ref<Call>();
  if (call && call->start()) call->finish(static_cast<Call::Outcome>(head.detail), answer_);
  answer_.reset();
  return status;
}

/// A process that is not there gets nothing, and nobody is told. A call that has no form here, or
/// that would take too many atoms, is answered in its place; one whose process is not there goes
/// back to the worker.
Status ProcessContext::take_send(const FrameHead& head,
                                 std::span<const std::uint8_t> rest) noexcept {
  if (head.detail > rest.size()) return Status::corrupt;
  Message pid;
  Message message;
  Status status = wire::from_portable(rest.first(head.detail), *this, pid);
  if (status == Status::ok) {
    status = wire::from_portable(rest.subspan(head.detail), *this, message);
  }
  if (status != Status::ok) return status;
  const Status sent = vm_host().send(pid.bytes(), message);
  if (sent != Status::ok && head.id != 0) refuse(head.id, message, sent);
  return Status::ok;
}

/// `request`: {Tag, Id or Call, Name, Arguments, Path}, or {Tag, Id, Handler}; others are no calls.
void ProcessContext::refuse(std::uint64_t inbox, const Message& request, Status why) noexcept {
  wire::Reader reader(request.bytes());
  wire::Item item{};
  for (int head = 0; head < 3; ++head) {
    if (reader.next(item) != Status::ok) return;
  }
  std::string_view const text =
      why == Status::unreachable ? "exit: Erlang's callback server ended before the call did"
      : why == Status::limit     ? "error: too many atoms were made from Python"
                                 : "error: an argument has no form in Erlang";
  if (item.tag == wire::kHandle) {  // A call that goes on elsewhere.
    Message reason;
    auto& call = static_cast<Call&>(*item.object);
    if (wire::Writer(reason).atom(text.substr(text.find(' ') + 1)) && call.start()) {
      call.finish(Call::Outcome::error_term, reason);
    }
    return;
  }
  const Ref<InboxRelay> relay = inbox_of(inbox);
  if (!relay) return;
  if (why == Status::unreachable) {
    relay->give_back(item.integer);
  } else {
    relay->refuse(item.integer, text);
  }
}

Status ProcessContext::look_up(std::uint64_t question,
                               std::span<const std::uint8_t> name) noexcept {
  Message pid;
  const Status found =
      vm_host().whereis({reinterpret_cast<const char*>(name.data()), name.size()}, pid);
  Message frame;
  if (!begin_frame(frame, FrameKind::found, question, found == Status::ok ? 1 : 0)) {
    return Status::out_of_memory;
  }
  if (found == Status::ok) {
    std::uint8_t* const room = frame.extend(pid.size());
    if (room == nullptr) return Status::out_of_memory;
    std::memcpy(room, pid.bytes().data(), pid.size());
  }
  const Status status = link_->send(frame);
  return status == Status::out_of_memory ? status : Status::ok;
}

void ProcessContext::watch(std::uint64_t id) noexcept {
  const Ref<Call> call = call_of(id);
  if (!call || call->watch_caller()) return;
  Message forget;
  wire::Writer writer(forget);
  if (writer.tuple(2) && writer.integer(static_cast<std::int64_t>(Operation::forget)) &&
      writer.pid_word(call->caller())) {
    (void)submit(forget);
  }
}

}  // namespace penstock::nif
