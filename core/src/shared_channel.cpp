// SPDX-License-Identifier: Apache-2.0
#include "penstock/shared_channel.hpp"

#include <cerrno>
#include <new>
#include <system_error>
#include <utility>

#include "penstock/bytes.hpp"
#include "penstock/shared_queue.hpp"
#include "penstock/sharing.hpp"
#include "penstock/wire.hpp"

namespace penstock {

static_assert(SharedChannel::kDefaultSize == SharedQueue::kDefaultSize);
static_assert(SharedChannel::kMostSize == SharedQueue::kMostSize);

namespace {

std::int64_t deadline_of(SharedChannel::Nanoseconds timeout) noexcept {
  std::int64_t const now = now_ns();
  return timeout.count() >= kNoDeadline - now ? kNoDeadline : now + timeout.count();
}

/// Whether it is one whole term without anything of a VM's.
Status check_term(std::span<const std::uint8_t> bytes) noexcept {
  wire::Reader reader(bytes);
  std::uint64_t wanted = 1;  // Heads that are still to come.
  while (wanted != 0) {
    wire::Item item{};
    if (reader.next(item) != Status::ok) return Status::corrupt;
    --wanted;
    switch (item.tag) {
      case wire::kSmallTuple:
      case wire::kLargeTuple:
        wanted += item.count;
        break;
      case wire::kList:
        wanted += std::uint64_t{item.count} + 1;  // And the end, kNil.
        break;
      case wire::kMap:
        wanted += 2 * std::uint64_t{item.count};
        break;
      case wire::kPidWord:
      case wire::kOpaque:
        return Status::not_shared;
      case wire::kAtomWord:
      case wire::kHandle:
      case wire::kPinned:
      case wire::kToken:
        return Status::corrupt;
      default:
        break;
    }
  }
  return reader.at_end() ? Status::ok : Status::corrupt;
}

}  // namespace

/// Once it has sent, this process counts as a sender: for good, since it may send again.
struct SharedChannel::Handle {
  explicit Handle(Ref<Channel> of) noexcept : channel(std::move(of)) {}
  ~Handle() {
    if (has_sent.load(order::relaxed) != 0) channel->remove_sender();
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  void count_as_sender() const noexcept {
    if (has_sent.load(order::relaxed) == 0 && has_sent.exchange(1, order::relaxed) == 0) {
      channel->add_sender();
    }
  }

  const Ref<Channel> channel;
  mutable Atomic<std::uint32_t> has_sent{0};
};

SharedChannel::SharedChannel(std::shared_ptr<const Handle> handle) noexcept
    : handle_(std::move(handle)) {}

SharedChannel SharedChannel::create(const std::string& address, const Options& options) {
  if (options.max_size == 0) throw std::system_error(EINVAL, std::generic_category(), "max_size");
  const auto content =
      options.content == Content::bytes ? Channel::Content::bytes : Channel::Content::terms;
  return SharedChannel(
      std::make_shared<const Handle>(sharing::create(address, options.max_size, content)));
}

SharedChannel SharedChannel::connect(const std::string& address, Nanoseconds timeout) {
  return SharedChannel(
      std::make_shared<const Handle>(sharing::connect(address, {deadline_of(timeout)})));
}

SharedChannel SharedChannel::connect(int invitation, Nanoseconds timeout) {
  return SharedChannel(std::make_shared<const Handle>(
      sharing::connect(Descriptor(invitation), {deadline_of(timeout)})));
}

int SharedChannel::invite() const { return sharing::invite(*handle_->channel).take(); }

SharedChannel::Content SharedChannel::content() const noexcept {
  return handle_->channel->content() == Channel::Content::bytes ? Content::bytes : Content::terms;
}

std::uint64_t SharedChannel::max_size() const noexcept { return handle_->channel->max_size(); }

Status SharedChannel::send(std::span<const std::uint8_t> bytes,
                           Nanoseconds timeout) const noexcept {
  Channel& channel = *handle_->channel;
  if (bytes.size() > channel.max_size()) return Status::too_large;
  if (channel.content() == Channel::Content::terms) {
    if (const Status status = check_term(bytes); status != Status::ok) return status;
  }
  Message message;
  if (!bytes::copy_into(message, bytes)) return Status::out_of_memory;
  handle_->count_as_sender();
  Status status = channel.try_send(message);
  if (status != Status::full || timeout.count() <= 0) return status;
  std::int64_t const deadline_ns = deadline_of(timeout);
  ThreadWaiter me;
  auto woken = ThreadWaiter::Wake::signal;  // Which is none of ours.
  while (status == Status::full && woken == ThreadWaiter::Wake::signal) {
    status = channel.send(message, deadline_ns, me, &woken);
  }
  return status;
}

Status SharedChannel::receive(std::vector<std::uint8_t>& bytes,
                              Nanoseconds timeout) const noexcept {
  Channel& channel = *handle_->channel;
  Message message;
  Status status = channel.try_receive(message);
  if (status == Status::empty && timeout.count() > 0) {
    std::int64_t const deadline_ns = deadline_of(timeout);
    ThreadWaiter me;
    auto woken = ThreadWaiter::Wake::signal;  // Which is none of ours.
    while (status == Status::empty && woken == ThreadWaiter::Wake::signal) {
      status = channel.receive(message, deadline_ns, me, &woken);
    }
  }
  if (status != Status::ok) return status;
  const std::span<const std::uint8_t> received =
      channel.content() == Channel::Content::bytes ? bytes::view(message).bytes : message.bytes();
  try {
    bytes.assign(received.begin(), received.end());
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
  return Status::ok;
}

void SharedChannel::close() const noexcept { handle_->channel->close(); }

bool SharedChannel::is_closed() const noexcept { return handle_->channel->is_closed(); }

std::uint64_t SharedChannel::size() const noexcept { return handle_->channel->size(); }

}  // namespace penstock
