// SPDX-License-Identifier: Apache-2.0
#include "output_relay.hpp"

#include <new>
#include <string_view>
#include <utility>

#include "inbox_relay.hpp"
#include "penstock/python/runtime.hpp"
#include "penstock/wire.hpp"

namespace penstock::nif {

/// Output names processes, and nothing else of ours.
class OutputRelay::Porter final : public wire::Porter {
 public:
  explicit Porter(ProcessContext& context) noexcept : context_(context) {}

 private:
  [[nodiscard]] std::size_t atom_name(std::uint64_t /*word*/, std::span<char> /*name*/,
                                      bool* ok) noexcept override {
    *ok = false;
    return 0;
  }
  [[nodiscard]] Status token_of(wire::HandleKind /*kind*/, Object& /*object*/,
                                std::uint64_t* /*token*/) noexcept override {
    return Status::not_shared;
  }
  [[nodiscard]] Status object_of(wire::HandleKind /*kind*/, std::uint64_t /*token*/,
                                 Ref<Object>* /*object*/) noexcept override {
    return Status::corrupt;
  }
  [[nodiscard]] bool is_pid(std::uint64_t word) noexcept override { return context_.is_pid(word); }

  ProcessContext& context_;
};

namespace {

[[nodiscard]] bool write_sync(Message& message, Channel& answers, std::int64_t number) noexcept {
  wire::Writer writer(message);
  return writer.tuple(3) && writer.atom("sync") &&
         writer.handle(wire::HandleKind::channel, Ref<Object>::borrow(&answers)) &&
         writer.integer(number);
}

[[nodiscard]] bool is_atom(const wire::Item& item, std::string_view name) noexcept {
  return item.tag == wire::kSmallAtom &&
         std::string_view(reinterpret_cast<const char*>(item.bytes.data()), item.bytes.size()) ==
             name;
}

/// Whether what comes next is, for each letter: a pid or None, bytes, bytes or None, a number or
/// None, a tuple of six.
[[nodiscard]] bool has_form(wire::Reader& reader, std::string_view form) noexcept {
  for (const char part : form) {
    wire::Item item{};
    if (reader.next(item) != Status::ok) return false;
    const bool is_none = item.tag == wire::kNone;
    const bool is_bytes = item.tag == wire::kBytes || item.tag == wire::kBinary;
    const bool is_number = item.tag == wire::kSmallInteger || item.tag == wire::kInteger ||
                           item.tag == wire::kSmallBig || item.tag == wire::kLargeBig;
    const bool fits = part == 'p'   ? is_none || item.tag == wire::kPidWord
                      : part == 'b' ? is_bytes
                      : part == 'o' ? is_none || is_bytes
                      : part == 'n' ? is_none || is_number
                                    : item.tag == wire::kSmallTuple && item.count == 6;
    if (!fits) return false;
  }
  return reader.at_end();
}

/// What py_output expects (pyext/erlang/_output.py).
[[nodiscard]] bool is_output(const Message& message) noexcept {
  wire::Reader reader(message.bytes());
  wire::Item tuple{};
  wire::Item what{};
  if (reader.next(tuple) != Status::ok || tuple.tag != wire::kSmallTuple ||
      reader.next(what) != Status::ok) {
    return false;
  }
  if (tuple.count == 6 && is_atom(what, "log")) return has_form(reader, "npbtonoooon");
  wire::Item stream{};
  return tuple.count == 4 && is_atom(what, "text") && reader.next(stream) == Status::ok &&
         (is_atom(stream, "stdout") || is_atom(stream, "stderr")) && has_form(reader, "pb");
}

}  // namespace

Status OutputRelay::take(const FrameHead& head, std::span<const std::uint8_t> rest) {
  if (received_ - answered_.load(order::relaxed) >= kOutputWindow) return Status::corrupt;
  auto item = std::make_unique<Item>();
  item->cost = output_cost(rest.size());
  received_ += item->cost;
  if (head.kind == FrameKind::output) {
    Porter porter(*context_);
    const Status status = wire::from_portable(rest, porter, item->message);
    if (status != Status::ok) return status;
    if (!is_output(item->message)) return Status::corrupt;
  } else {
    if (head.id > INT32_MAX || !rest.empty()) return Status::corrupt;
    if (!write_sync(item->message, *answers_, static_cast<std::int64_t>(head.id))) {
      return Status::out_of_memory;
    }
  }
  is_settled_ = head.kind == FrameKind::sync;
  put(std::move(item));
  return Status::ok;
}

/// Throws bad_alloc.
void OutputRelay::put(std::unique_ptr<Item> item) {
  if (is_given_up_.load(order::relaxed) != 0) return;
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(item));
  }
  move();
}

void OutputRelay::settle(std::int64_t deadline_ns) noexcept {
  if (is_settled_ || is_given_up_.load(order::relaxed) != 0) return;
  try {
    const Ref<Channel> done = Channel::create(0);
    auto item = std::make_unique<Item>();
    if (!done || !write_sync(item->message, *done, 0)) return;
    done->add_sender();  // Erlang becomes one only when it gets the reference.
    put(std::move(item));
    ThreadWaiter waiter;
    auto woken = ThreadWaiter::Wake::fired;
    Message answer;
    (void)done->receive(answer, deadline_ns, waiter, &woken);
  } catch (const std::bad_alloc&) {
    return;  // Then it arrives later than what comes from us.
  }
}

bool OutputRelay::fire() noexcept {
  const auto of_line = Ref<OutputRelay>::steal(this);
  has_fired_.store(1, order::relaxed);  // S1 orders it.
  move();
  return true;
}

/// Moves what is there, or has whoever does so look once more.
void OutputRelay::move() noexcept {
  movers_.run([this] { move_all(); });
}

void OutputRelay::move_all() noexcept {
  if (has_fired_.exchange(0, order::relaxed) != 0) line_ = {};
  while (Item* const item = first()) {
    const Ref<Channel> channel = python::output_channel();
    if (!channel) return give_up();
    Status status = channel->try_send(item->message);
    if (status == Status::full) {
      if (!get_in_line(channel)) return;
      status = channel->try_send(item->message);
    }
    if (status == Status::full) return;
    // One that is closed has a successor, or will have none. What else does not go in is lost.
    if (status != Status::closed) drop_first();
  }
  leave_line();
}

/// False: we were in another line, and are about to be fired.
bool OutputRelay::get_in_line(const Ref<Channel>& channel) noexcept {
  if (line_.get() == channel.get()) return true;
  leave_line();
  if (line_) return false;
  line_ = channel;
  retain();  // The line's.
  channel->space_waiters().add(*this);
  return true;
}

void OutputRelay::leave_line() noexcept {
  if (!line_ || !line_->space_waiters().remove(*this)) return;
  const Ref<Channel> line = std::exchange(line_, {});
  line->pass_on_space();
  release();
}

OutputRelay::Item* OutputRelay::first() noexcept {
  const std::lock_guard lock(mutex_);
  return waiting_.empty() ? nullptr : waiting_.front().get();
}

void OutputRelay::drop_first() noexcept {
  std::unique_ptr<Item> item;
  {
    const std::lock_guard lock(mutex_);
    item = std::move(waiting_.front());
    waiting_.pop_front();
  }
  taken_ += item->cost;
  if (taken_ < kOutputWindow / 2) return;
  answered_.fetch_add(taken_, order::relaxed);
  context_->tell(FrameKind::output_taken, std::exchange(taken_, 0));
}

void OutputRelay::give_up() noexcept {
  is_given_up_.store(1, order::relaxed);
  std::deque<std::unique_ptr<Item>> lost;
  {
    const std::lock_guard lock(mutex_);
    lost.swap(waiting_);
  }
  leave_line();
  context_->tell(FrameKind::output_closed);
}

/// The first makes its way.
Status ProcessContext::take_output(const FrameHead& head,
                                   std::span<const std::uint8_t> rest) noexcept {
  try {
    if (!output_) {
      Ref<Channel> answers = Channel::create(0);
      if (!answers) return Status::out_of_memory;
      answers->add_sender();  // There may always be one more.
      const auto relay = Ref<InboxRelay>::steal(
          new InboxRelay(Ref<ProcessContext>::borrow(this), 0, Ref<Channel>(answers)));
      {
        const std::lock_guard lock(mutex_);
        if (!inboxes_.emplace(0, relay).second) return Status::corrupt;
      }
      relay->open();
      output_ = Ref<OutputRelay>::steal(
          new OutputRelay(Ref<ProcessContext>::borrow(this), std::move(answers)));
    }
    return output_->take(head, rest);
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
}

}  // namespace penstock::nif
