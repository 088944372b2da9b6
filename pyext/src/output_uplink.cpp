// SPDX-License-Identifier: Apache-2.0
#include "output_uplink.hpp"

#include <new>
#include <utility>

#include "penstock/wire.hpp"
#include "uplink.hpp"

namespace penstock::python {

namespace {

/// As py_output has it.
constexpr std::uint64_t kMostQueued = 1'048'576;

}  // namespace

Ref<OutputUplink> OutputUplink::open(Uplink& uplink, OutputSettings settings) {
  Ref<Channel> channel = Channel::create(kMostQueued);
  if (!channel) return {};
  channel->add_sender();  // There may always be one more.
  auto self =
      Ref<OutputUplink>::steal(new (std::nothrow) OutputUplink(uplink, Ref<Channel>(channel)));
  if (!self) return {};
  self->move();  // Gets in line.
  (void)open_output(std::move(channel), settings);
  return self;
}

bool OutputUplink::fire() noexcept {
  const auto of_line = Ref<OutputUplink>::steal(this);
  has_fired_.store(1, order::relaxed);  // S1 orders it.
  move();
  return true;
}

/// Moves what is there, or has whoever does so look once more.
void OutputUplink::move() noexcept {
  movers_.run([this] { move_all(); });
}

void OutputUplink::move_all() noexcept {
  if (has_fired_.exchange(0, order::relaxed) != 0) is_in_line_ = false;
  in_flight_ -= taken_.exchange(0, order::relaxed);
  while (in_flight_ < kOutputWindow) {
    Message message;
    Status status = channel_->try_receive(message);
    if (status != Status::ok) {
      if (!std::exchange(is_in_line_, true)) {
        retain();  // The line's.
        channel_->data_waiters().add(*this);
      }
      status = channel_->receive_or_wait(message);
    }
    if (status != Status::ok) return;
    pass_on(message);
  }
}

/// (sync, channel, number) becomes a number that is ours: the channel stays here.
void OutputUplink::pass_on(const Message& message) noexcept {
  wire::Reader reader(message.bytes());
  wire::Item tuple{};
  wire::Item name{};
  wire::Item channel{};
  wire::Item number{};
  const bool has_head = reader.next(tuple) == Status::ok && tuple.tag == wire::kSmallTuple &&
                        reader.next(name) == Status::ok;
  const bool is_sync = has_head && tuple.count == 3 && reader.next(channel) == Status::ok &&
                       channel.tag == wire::kHandle && reader.next(number) == Status::ok;
  Message frame;
  if (is_sync) {
    auto& answers = static_cast<Channel&>(*channel.object);
    std::uint64_t const id = note({Ref<Channel>::borrow(&answers), number.integer});
    if (id == 0 || !begin_frame(frame, FrameKind::sync, id)) return;
  } else if (!begin_frame(frame, FrameKind::output) ||
             wire::to_portable(message.bytes(), uplink_, frame) != Status::ok) {
    return;
  }
  std::uint64_t const cost = output_cost(frame.size() - sizeof(FrameHead));
  if (uplink_.link_->send(frame) == Status::ok) in_flight_ += cost;
}

/// Its number, of 31 bits, so that it is a small integer in Erlang; 0: it is answered, rather too
/// early than never.
std::uint64_t OutputUplink::note(Sync sync) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    if (!is_closed_) {
      last_sync_ = last_sync_ % INT32_MAX + 1;
      syncs_.insert_or_assign(last_sync_, sync);
      return last_sync_;
    }
  } catch (const std::bad_alloc&) {
    // It cannot be noted.
  }
  answer(sync);
  return 0;
}

void OutputUplink::answer(const Sync& sync) noexcept {
  Message message;
  if (wire::Writer(message).integer(sync.number)) (void)sync.channel->try_send(message);
}

void OutputUplink::taken(std::uint64_t cost) noexcept {
  taken_.fetch_add(cost, order::relaxed);  // S1 orders it.
  move();
}

void OutputUplink::settled(std::span<const std::uint8_t> term) noexcept {
  wire::Item item{};
  if (wire::Reader(term).next(item) != Status::ok) return;
  Sync sync{};
  {
    const std::lock_guard lock(mutex_);
    const auto found = syncs_.find(static_cast<std::uint64_t>(item.integer));
    if (found == syncs_.end()) return;
    sync = std::move(found->second);
    syncs_.erase(found);
  }
  answer(sync);
}

void OutputUplink::close() noexcept {
  (void)close_output();
  std::unordered_map<std::uint64_t, Sync> syncs;
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    syncs.swap(syncs_);
  }
  for (const auto& [id, sync] : syncs) answer(sync);
}

}  // namespace penstock::python
