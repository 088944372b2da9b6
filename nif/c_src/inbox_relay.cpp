// SPDX-License-Identifier: Apache-2.0
#include "inbox_relay.hpp"

#include "penstock/call.hpp"
#include "penstock/wire.hpp"
#include "vm_host.hpp"

namespace penstock::nif {

namespace {

/// What a message to a thread that calls Erlang begins with (call.hpp).
struct Head {
  Operation operation{};
  wire::Item first{};
  wire::Item second{};
};

[[nodiscard]] bool read_head(const Message& message, Head* head) noexcept {
  wire::Reader reader(message.bytes());
  wire::Item item{};
  if (reader.next(item) != Status::ok || item.tag != wire::kSmallTuple) return false;
  if (reader.next(item) != Status::ok || item.tag != wire::kSmallInteger) return false;
  head->operation = static_cast<Operation>(item.integer);
  if (reader.next(head->first) != Status::ok) return false;
  return head->operation == Operation::opened || reader.next(head->second) == Status::ok;
}

/// How a call failed, with an atom for a reason.
[[nodiscard]] bool write_failure(Message& out, Operation operation, std::int64_t call,
                                 const wire::Item* handler, std::string_view text,
                                 const char* reason) noexcept {
  wire::Writer writer(out);
  return writer.tuple(7) && writer.integer(static_cast<std::int64_t>(operation)) &&
         writer.integer(call) &&
         (handler != nullptr && handler->tag == wire::kPidWord ? writer.pid_word(handler->word)
                                                               : writer.tag(wire::kNone)) &&
         writer.atom("error") &&
         writer.bytes(wire::kBinary,
                      {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}) &&
         writer.atom(reason) && writer.bytes(wire::kBinary, {});
}

}  // namespace

bool InboxRelay::fire() noexcept {
  const auto of_line = Ref<InboxRelay>::steal(this);
  has_fired_.store(1, order::relaxed);  // S1 orders it.
  move();
  return true;
}

void InboxRelay::move() noexcept {
  movers_.run([this] { move_all(); });
}

void InboxRelay::move_all() noexcept {
  if (has_fired_.exchange(0, order::relaxed) != 0) is_in_line_ = false;
  while (!is_done_) {
    Message message;
    Status status = channel_->try_receive(message);
    if (status != Status::ok) {
      if (!std::exchange(is_in_line_, true)) {
        retain();  // The line's.
        channel_->data_waiters().add(*this);
      }
      status = channel_->receive_or_wait(message);
    }
    if (status == Status::ok) {
      pass_on(message);
    } else if (status == Status::closed) {
      is_done_ = true;
    } else {
      return;
    }
  }
  if (is_in_line_ && channel_->data_waiters().remove(*this)) release();
  is_in_line_ = false;
  context_->forget_inbox(*this);
  if (is_lost_.load(order::relaxed) == 0) {
    context_->tell(FrameKind::inbox_lost, id_);
  } else if (process_ != 0) {
    Message pid;
    Message close;
    if (wire::Writer(pid).pid_word(process_) && wire::Writer(close).atom("penstock_close")) {
      (void)vm_host().send(pid.bytes(), close);
    }
    process_ = 0;
  }
}

void InboxRelay::pass_on(const Message& message) noexcept {
  Head head;
  const bool has_head = read_head(message, &head);
  if (has_head && head.operation == Operation::opened && head.first.tag == wire::kPidWord) {
    process_ = head.first.word;
  }
  Message frame;
  Status status = Status::out_of_memory;
  if (begin_frame(frame, FrameKind::inbox, id_)) {
    status = context_->send_term(frame, message.bytes());
  }
  if (status == Status::ok || status == Status::closed) return;
  // Whoever waits for it learns at least that.
  const bool is_end =
      has_head && (head.operation == Operation::value || head.operation == Operation::failure ||
                   head.operation == Operation::down);
  if (!is_end) return;
  frame.clear();
  const Operation operation =
      head.operation == Operation::down ? Operation::down : Operation::failure;
  const std::string_view text =
      status == Status::not_shared
          ? "error: what the function returned holds a channel that is not shared, or a buffer"
          : "error: there was no memory for what the function returned";
  if (begin_frame(frame, FrameKind::inbox, id_) &&
      write_failure(frame, operation, head.first.integer, &head.second, text,
                    status == Status::not_shared ? "not_shared" : "enomem")) {
    (void)context_->link_->send(frame);
  }
}

void InboxRelay::refuse(std::int64_t call, std::string_view text) noexcept {
  Message frame;
  if (begin_frame(frame, FrameKind::inbox, id_) &&
      write_failure(frame, Operation::failure, call, nullptr, text, "refused")) {
    (void)context_->link_->send(frame);
  }
}

void InboxRelay::give_back(std::int64_t call) noexcept {
  Message frame;
  if (!begin_frame(frame, FrameKind::inbox, id_)) return;
  wire::Writer writer(frame);
  if (writer.tuple(2) && writer.integer(static_cast<std::int64_t>(Operation::undelivered)) &&
      writer.integer(call)) {
    (void)context_->link_->send(frame);
  }
}

void InboxRelay::lose() noexcept {
  is_lost_.store(1, order::relaxed);
  channel_->close();
  move();
}

}  // namespace penstock::nif
