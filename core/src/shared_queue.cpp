// SPDX-License-Identifier: Apache-2.0
#include "penstock/shared_queue.hpp"

#include <algorithm>
#include <bit>
#include <new>
#include <system_error>
#include <utility>

#include "penstock/bytes.hpp"

namespace penstock {

namespace {

/// Others may want the role as often as they like; nobody is kept for ever.
constexpr unsigned kMostCollections = 64;

/// A message of that many bytes fits, and the one behind it, whatever lies unused between.
std::uint64_t capacity_for(std::uint64_t max_size) {
  std::uint64_t const least = std::max(max_size + sizeof(std::uint64_t), SharedQueue::kLeastSize);
  return std::bit_ceil(2 * least);
}

std::size_t bytes_for(std::uint64_t capacity) {
  return sizeof(SharedHeader) + MpscRing::bytes_for(capacity);
}

}  // namespace

// Start and end
// ------------------------------------------------------------------------------------------------

SharedHeader& SharedQueue::header() const noexcept {
  return *std::launder(reinterpret_cast<SharedHeader*>(segment_->memory().data()));
}

std::span<std::uint8_t> SharedQueue::ring() const noexcept {
  return segment_->memory().subspan(sizeof(SharedHeader));
}

SharedQueue::SharedQueue(Ref<Domain> domain, wire::Porter& porter,
                         std::shared_ptr<const Segment> segment, const SharedShape& shape,
                         OnGone on_gone) noexcept
    : domain_(std::move(domain)),
      porter_(porter),
      segment_(std::move(segment)),
      shape_(shape),
      on_gone_(std::move(on_gone)),
      producer_(ring(), shape.capacity, static_cast<MpscRing::Owner>(self())),
      data_(*domain_, domain_->number(), header().data),
      space_(*domain_, domain_->number(), header().space) {}

SharedQueue::~SharedQueue() {
  if (channel_ == nullptr || !data_.is_usable()) return;
  domain_->remove(*channel_);
  // Nobody here waits or can send any more, which others may wait to hear; and a call that came for
  // us is for them.
  set_sender(false);
  for (FarLine* const line : {&data_, &space_}) {
    line->forget(domain_->number());
    line->wake_all();
  }
  if (on_gone_) on_gone_(*channel_);
}

Ref<Channel> SharedQueue::channel_of(std::unique_ptr<SharedQueue> queue) {
  const auto content = static_cast<Channel::Content>(queue->shape_.content);
  std::uint64_t const max_size = queue->shape_.max_size;
  Ref<Channel> channel = Channel::create(std::move(queue), max_size, content);
  if (!channel) throw std::bad_alloc();
  return channel;
}

Ref<Channel> SharedQueue::create(Ref<Domain> domain, wire::Porter& porter, std::uint64_t max_size,
                                 Channel::Content content) {
  if (max_size == 0) max_size = kDefaultSize;
  if (max_size > kMostSize) throw std::system_error(EINVAL, std::generic_category(), "max_size");
  const SharedShape shape{.capacity = capacity_for(max_size),
                          .max_size = max_size,
                          .content = static_cast<std::uint32_t>(content)};
  auto segment = std::make_shared<const Segment>(
      Segment::create_shared(bytes_for(shape.capacity), "penstock-channel"));
  auto* const header = new (segment->memory().data()) SharedHeader{};
  header->magic = SharedHeader::kMagic;
  header->version = SharedHeader::kVersion;
  header->capacity = shape.capacity;
  header->max_size = max_size;
  header->content = shape.content;
  MpscRing::format(segment->memory().subspan(sizeof(SharedHeader)), shape.capacity);
  return channel_of(std::unique_ptr<SharedQueue>(
      new SharedQueue(std::move(domain), porter, std::move(segment), shape, {})));
}

std::shared_ptr<const Segment> SharedQueue::map(int descriptor, const SharedShape& shape) {
  auto segment = std::make_shared<Segment>(Segment::attach(descriptor, bytes_for(shape.capacity)));
  segment->close_descriptor();
  const auto* const header =
      std::launder(reinterpret_cast<const SharedHeader*>(segment->memory().data()));
  if (header->magic != SharedHeader::kMagic || header->version != SharedHeader::kVersion ||
      !MpscRing::attach(segment->memory().subspan(sizeof(SharedHeader)), shape.capacity)) {
    throw std::system_error(EINVAL, std::generic_category(), "a shared channel");
  }
  return segment;
}

Ref<Channel> SharedQueue::attach(Ref<Domain> domain, wire::Porter& porter,
                                 std::shared_ptr<const Segment> segment, const SharedShape& shape,
                                 OnGone on_gone) {
  return channel_of(std::unique_ptr<SharedQueue>(
      new SharedQueue(std::move(domain), porter, std::move(segment), shape, std::move(on_gone))));
}

SharedShape SharedQueue::shape() const noexcept { return shape_; }

void SharedQueue::belongs_to(Channel& channel) {
  domain_->add(channel);
  channel_ = &channel;
}

// Messages
// ------------------------------------------------------------------------------------------------

Status SharedQueue::push(const Message& message) noexcept {
  if (!data_.is_usable()) return Status::closed;
  if (shape_.content == static_cast<std::uint32_t>(Channel::Content::bytes)) {
    return producer_.try_send(bytes::view(message).bytes);
  }
  if (!message.is_local()) return producer_.try_send(message.bytes());
  Message portable;
  const Status status = wire::to_portable(message.bytes(), porter_, portable);
  return status == Status::ok ? producer_.try_send(portable.bytes()) : status;
}

Status SharedQueue::pop(Message& message, bool* is_wanted) noexcept {
  if (!data_.is_usable()) return Status::closed;
  if (!take_role()) return Status::empty;
  const Status status = take(message);
  *is_wanted = leave_role();
  return status;
}

MpscConsumer SharedQueue::consumer() const noexcept {
  if (header().leased.load(order::acquire("D12")) == 0) return {ring(), shape_.capacity};
  return {ring(), shape_.capacity, header().next.load(order::relaxed)};
}

Status SharedQueue::take(Message& message) noexcept {
  MpscConsumer ring = consumer();
  std::span<const std::uint8_t> record;
  const Status status = ring.peek(&record);
  if (status == Status::empty) go_on(ring);  // What the dead had claimed may have been skipped.
  if (status != Status::ok) return status;
  if (!message.is_in_place() || !take_in_place(ring, record, message)) {
    std::uint8_t* const room = message.extend(record.size());
    if (room == nullptr) return Status::out_of_memory;
    copy_out(room, record.data(), record.size());
    message.mark_foreign();
  }
  ring.consume();
  go_on(ring);
  return Status::ok;
}

bool SharedQueue::has_record() const noexcept {
  return data_.is_usable() && consumer().has_record();
}

bool SharedQueue::has_room() const noexcept { return size() < shape_.capacity; }

std::uint64_t SharedQueue::size() const noexcept {
  return data_.is_usable() ? MpscConsumer(ring(), shape_.capacity).used() : 0;
}

std::uint64_t SharedQueue::next_size() const noexcept {
  return data_.is_usable() ? consumer().next_size() : 0;
}

std::uint64_t SharedQueue::leased() const noexcept {
  if (!data_.is_usable()) return 0;
  const MpscConsumer oldest(ring(), shape_.capacity);  // First: neither goes back.
  std::uint64_t const bytes = oldest.bytes_to(consumer().position());
  return bytes <= shape_.capacity ? bytes : 0;
}

// Messages that are read where they lie
// ------------------------------------------------------------------------------------------------

/// Keeps a record from being overwritten.
class SharedQueue::Leased final : public wire::PinnedBytes {
 public:
  explicit Leased(std::span<const std::uint8_t> record) noexcept : PinnedBytes(record) {}
  /// Whoever drops it from then on ends the lease.
  void starts(Channel& channel, Atomic<std::uint64_t>& lease) noexcept {
    channel_ = Ref<Channel>::borrow(&channel);
    lease_ = &lease;
  }

 private:
  ~Leased() override {
    if (lease_ == nullptr || born_ != Forks::count()) return;
    lease_->store(0, order::release("D7"));
    channel_->collect();
  }
  const std::uint32_t born_ = Forks::count();
  Ref<Channel> channel_;
  Atomic<std::uint64_t>* lease_ = nullptr;
};

/// False: it is to be copied. Half of the ring is for others, however long this one is read.
bool SharedQueue::take_in_place(MpscConsumer& ring, std::span<const std::uint8_t> record,
                                Message& message) noexcept {
  const bool is_term = shape_.content != static_cast<std::uint32_t>(Channel::Content::bytes);
  // The first process trusts no other one with what it reads.
  if (is_term || domain_->number() == 0 || record.size() < kLeastInPlace ||
      ring.span_with_peeked() > shape_.capacity / 2) {
    return false;
  }
  auto& leases = header().leases;
  auto* const free = std::find_if(std::begin(leases), std::end(leases), [](const auto& lease) {
    return lease.load(order::acquire("D7")) == 0;  // Overwritten, go_on() does not see it.
  });
  if (free == std::end(leases)) return false;
  Ref<Leased> leased = Ref<Leased>::steal(new (std::nothrow) Leased(record));
  if (!leased || !bytes::refer_to(message, Ref<wire::PinnedBytes>::borrow(leased.get()))) {
    message.reset();
    return false;
  }
  leased->starts(*channel_, *free);
  free->store(ring.position() << 8 | self(), order::relaxed);
  header().next.store(ring.position(), order::relaxed);
  header().leased.store(1, order::release("D12"));
  ring.keep();
  return true;
}

/// The role's: `ring` has consumed a record. Each step may be the last one of a process that dies.
/// Who waits for the room is woken by the channel, behind the fence of leave_role().
void SharedQueue::go_on(MpscConsumer& ring) noexcept {
  if (header().leased.load(order::relaxed) == 0) return ring.give_back_to(ring.position());
  std::uint64_t const next = ring.position();
  header().next.store(next, order::relaxed);
  std::uint64_t oldest = next;
  bool is_any = false;
  for (const Atomic<std::uint64_t>& lease : header().leases) {
    std::uint64_t const word = lease.load(order::acquire("D7"));
    if (word == 0) continue;
    is_any = true;
    if (ring.is_before(word >> 8, oldest)) oldest = word >> 8;
  }
  ring.give_back_to(oldest);
  if (!is_any) header().leased.store(0, order::release("D12"));
}

/// Who finds us at it wants us to look again.
bool SharedQueue::collect() noexcept {
  bool is_wanted = false;
  for (unsigned looks = 0; looks < kMostCollections; ++looks) {
    if (!data_.is_usable() || header().leased.load(order::relaxed) == 0 || !take_role()) break;
    MpscConsumer ring = consumer();
    go_on(ring);
    if (!leave_role()) break;
    is_wanted = true;
  }
  return is_wanted;
}

// Who takes messages
// ------------------------------------------------------------------------------------------------

/// Held for one message. Who holds it and sleeps, or was stopped, is not waited for: it looks for
/// us when it goes on.
bool SharedQueue::take_role() noexcept {
  for (unsigned looks = 0; !try_take_role(); spin_pause(0)) {
    if (++looks == kPatience) return want_role();
  }
  return true;
}

bool SharedQueue::want_role() noexcept {
  // It may have been given back since we looked, and then nobody would look for us.
  std::uint32_t const word = header().consumer.fetch_or(kWanted, order::release("D2"));
  return (word & ~kWanted) == 0 && try_take_role();
}

/// Whoever takes it keeps the mark of those who wanted it.
bool SharedQueue::try_take_role() noexcept {
  Atomic<std::uint32_t>& role = header().consumer;
  std::uint32_t word = role.load(order::relaxed);
  return (word & ~kWanted) == 0 &&
         role.compare_exchange_strong(word, word | self(), order::acquire("D2"), order::relaxed);
}

/// True: somebody else wanted it; what he has to tell is seen by who takes the role again.
bool SharedQueue::leave_role() noexcept {
  Atomic<std::uint32_t>& role = header().consumer;
  return (exchange_and_fence(role, 0U, order::release("D2"), "W1") & kWanted) != 0;
}

// Ends
// ------------------------------------------------------------------------------------------------

void SharedQueue::close() noexcept {
  if (data_.is_usable()) producer_.close();
}

bool SharedQueue::is_closed() const noexcept {
  return !data_.is_usable() || MpscConsumer(ring(), shape_.capacity).is_closed();
}

void SharedQueue::set_sender(bool is_there) noexcept {
  if (!data_.is_usable()) return;
  Atomic<std::uint64_t>& senders = header().senders;
  if (is_there) {
    senders.fetch_or(mark(), order::relaxed);
  } else {
    senders.fetch_and(~mark(), order::release("D4"));
  }
}

bool SharedQueue::has_sender() const noexcept {
  return data_.is_usable() && header().senders.load(order::acquire("D4")) != 0;
}

/// Nobody of this process has it while we are here. One that is held by nobody who could is the
/// work of somebody who has lost his mind.
bool SharedQueue::may_recover(std::uint32_t role, unsigned process) const noexcept {
  std::uint32_t const holder = role & ~kWanted;
  return holder == 0 || holder == process + 1 || holder == self() || holder > Domain::kMost ||
         !domain_->is_member(holder - 1);
}

/// Also one that had begun and whose record was not taken yet.
void SharedQueue::end_leases_of(unsigned process) noexcept {
  for (Atomic<std::uint64_t>& lease : header().leases) {
    if ((lease.load(order::relaxed) & 0xFF) == process + 1) lease.store(0, order::relaxed);
  }
  MpscConsumer ring = consumer();
  go_on(ring);
}

bool SharedQueue::recover(unsigned process) noexcept {
  Atomic<std::uint32_t>& role = header().consumer;
  std::uint32_t word = role.load(order::relaxed);
  if (!may_recover(word, process) ||
      !role.compare_exchange_strong(word, self() | kWanted, order::acquire("D2"), order::relaxed)) {
    return false;
  }
  const Status status = MpscConsumer(ring(), shape_.capacity)
                            .abort_claims_of(static_cast<MpscRing::Owner>(process + 1));
  end_leases_of(process);
  if (leave_role()) (void)collect();
  if (status != Status::ok) close();
  header().senders.fetch_and(~(std::uint64_t{1} << process), order::release("D4"));
  data_.forget(process);
  space_.forget(process);
  return true;
}

}  // namespace penstock
