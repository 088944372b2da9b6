// SPDX-License-Identifier: Apache-2.0
#include "penstock/shared_stream.hpp"

#include <algorithm>
#include <bit>
#include <new>
#include <system_error>
#include <utility>

namespace penstock {

namespace {

constexpr std::uint64_t kLeastCapacity = 4096;

std::size_t bytes_for(std::uint64_t capacity) { return sizeof(StreamHeader) + capacity; }

}  // namespace

// Start and end
// ------------------------------------------------------------------------------------------------

StreamHeader& SharedStream::header() const noexcept {
  return *std::launder(reinterpret_cast<StreamHeader*>(segment_->memory().data()));
}

std::span<std::uint8_t> SharedStream::ring() const noexcept {
  return segment_->memory().subspan(sizeof(StreamHeader), shape_.capacity);
}

SharedStream::SharedStream(Ref<Domain> domain, wire::Porter& porter,
                           std::shared_ptr<const Segment> segment, const SharedShape& shape,
                           std::uint64_t limit, OnGone on_gone) noexcept
    : domain_(std::move(domain)),
      porter_(porter),
      segment_(std::move(segment)),
      shape_(shape),
      limit_(limit),
      on_gone_(std::move(on_gone)),
      data_(*domain_, domain_->number(), header().data),
      space_(*domain_, domain_->number(), header().space) {}

SharedStream::~SharedStream() {
  if (stream_ == nullptr || !is_usable()) return;
  domain_->remove(*stream_);
  // A call that came for somebody here is for the others.
  for (FarLine* const line : {&data_, &space_}) {
    line->forget(domain_->number());
    line->wake_all();
  }
  if (on_gone_) on_gone_(*stream_);
}

Ref<ByteStream> SharedStream::stream_of(std::unique_ptr<SharedStream> store,
                                        const ByteStream::Options& options) {
  Ref<ByteStream> stream = ByteStream::create(std::move(store), options);
  if (!stream) throw std::bad_alloc();
  return stream;
}

Ref<ByteStream> SharedStream::create(Ref<Domain> domain, wire::Porter& porter,
                                     ByteStream::Options options) {
  if (options.max_unread == 0) options.max_unread = kDefaultSize;
  if (options.max_unread > kMostSize) {
    throw std::system_error(EINVAL, std::generic_category(), "max_size");
  }
  const SharedShape shape{
      .capacity = std::bit_ceil(std::max(options.max_unread, kLeastCapacity)),
      .max_size = options.max_unread,
      .content_length = options.content_length,
      .content = SharedShape::kStream,
      .retains = options.retains ? 1U : 0U,
  };
  auto segment = std::make_shared<const Segment>(
      Segment::create_shared(bytes_for(shape.capacity), "penstock-buffer"));
  auto* const header = new (segment->memory().data()) StreamHeader{};
  header->magic = StreamHeader::kMagic;
  header->version = StreamHeader::kVersion;
  header->capacity = shape.capacity;
  header->max_size = shape.max_size;
  header->content_length = shape.content_length;
  header->retains = shape.retains;
  header->wanted_data.store(UINT64_MAX, order::relaxed);
  header->wanted_space.store(UINT64_MAX, order::relaxed);
  return stream_of(std::unique_ptr<SharedStream>(new SharedStream(
                       std::move(domain), porter, std::move(segment), shape, options.limit, {})),
                   options);
}

std::shared_ptr<const Segment> SharedStream::map(int descriptor, const SharedShape& shape) {
  auto segment = std::make_shared<Segment>(Segment::attach(descriptor, bytes_for(shape.capacity)));
  segment->close_descriptor();
  const auto* const header =
      std::launder(reinterpret_cast<const StreamHeader*>(segment->memory().data()));
  if (header->magic != StreamHeader::kMagic || header->version != StreamHeader::kVersion ||
      !std::has_single_bit(shape.capacity) || shape.max_size > shape.capacity) {
    throw std::system_error(EINVAL, std::generic_category(), "a shared stream");
  }
  return segment;
}

Ref<ByteStream> SharedStream::attach(Ref<Domain> domain, wire::Porter& porter,
                                     std::shared_ptr<const Segment> segment,
                                     const SharedShape& shape, OnGone on_gone) {
  ByteStream::Options options;
  options.content_length = shape.content_length;
  options.max_unread = shape.max_size;
  options.retains = shape.retains != 0;
  return stream_of(
      std::unique_ptr<SharedStream>(new SharedStream(std::move(domain), porter, std::move(segment),
                                                     shape, options.limit, std::move(on_gone))),
      options);
}

void SharedStream::belongs_to(ByteStream& stream) {
  domain_->add(stream);
  stream_ = &stream;
}

// Writing
// ------------------------------------------------------------------------------------------------

/// With the mutex.
Status SharedStream::admit(std::uint64_t count) noexcept {
  std::uint64_t const sent = sent_.load(order::relaxed);
  if (is_ended()) return Status::closed;
  if (count > shape_.content_length - sent) return Status::too_long;
  if (count > limit_ - sent) return Status::limit;
  if (count > shape_.max_size) return Status::too_large;
  std::uint64_t const given_back = header().given_back.load(order::acquire("D8"));
  if (given_back > sent) {
    // Somebody has lost his mind. What others make of it is of no use to them.
    ended_.store(kClosed, order::relaxed);
    header().lost.store(1, order::relaxed);
    return Status::closed;
  }
  given_back_seen_ = std::max(given_back_seen_, given_back);
  return sent + count - given_back_seen_ <= shape_.max_size ? Status::ok : Status::full;
}

void SharedStream::copy_to_ring(std::uint64_t at, std::span<const std::uint8_t> bytes) noexcept {
  std::size_t const offset = at & (shape_.capacity - 1);
  std::size_t const first = std::min<std::size_t>(bytes.size(), shape_.capacity - offset);
  copy_in(ring().data() + offset, bytes.data(), first);
  copy_in(ring().data(), bytes.data() + first, bytes.size() - first);
}

Status SharedStream::write(std::span<const std::uint8_t> bytes) noexcept {
  if (!is_maker() || !is_usable()) return Status::closed;
  const std::lock_guard lock(writing_);
  const Status status = admit(bytes.size());
  if (status != Status::ok) return status;
  std::uint64_t const sent = sent_.load(order::relaxed);
  copy_to_ring(sent, bytes);
  sent_.store(sent + bytes.size(), order::release("D11"));
  header().written.store(sent + bytes.size(), order::release("D11"));
  return Status::ok;
}

void SharedStream::close() noexcept {
  if (!is_maker() || !is_usable()) return;
  const std::lock_guard lock(writing_);
  if (ended_.load(order::relaxed) != kOpen) return;
  ended_.store(kClosed, order::release("D11"));
  header().end.store(kClosed, order::release("D11"));
}

Status SharedStream::abort(const Message* reason) noexcept {
  if (!is_maker() || !is_usable()) return Status::ok;
  Message portable;
  if (reason != nullptr) {
    const Status status = wire::to_portable(reason->bytes(), porter_, portable);
    if (status != Status::ok) return status;
  }
  const auto bytes = portable.bytes();
  if (bytes.size() > StreamHeader::kReason) return Status::too_large;
  const std::lock_guard lock(writing_);
  if (ended_.load(order::relaxed) != kOpen) return Status::ok;
  copy_in(header().reason, bytes.data(), bytes.size());
  header().reason_size = static_cast<std::uint32_t>(bytes.size());
  ended_.store(kAborted, order::release("D11"));
  header().end.store(kAborted, order::release("D11"));
  return Status::ok;
}

bool SharedStream::is_abandoned() const noexcept {
  return is_usable() && header().had_reader.load(order::acquire("D9")) != 0 &&
         header().readers.load(order::relaxed) == 0;
}

void SharedStream::press() noexcept {
  if (is_usable()) header().pressed.store(1, order::release("D10"));
}

// Both
// ------------------------------------------------------------------------------------------------

std::uint64_t SharedStream::written() const noexcept {
  if (is_maker()) return sent_.load(order::relaxed);
  return is_usable() ? header().written.load(order::relaxed) : 0;
}

std::uint64_t SharedStream::read() const noexcept {
  if (!is_usable()) return 0;
  std::uint64_t const read = header().read.load(order::relaxed);  // First: never above the other.
  const bool is_lost = header().lost.load(order::relaxed) != 0;   // Nothing is there any more.
  return is_lost ? written() : std::min(read, written());
}

bool SharedStream::is_ended() const noexcept {
  if (!is_usable()) return true;
  const bool is_over = is_maker() ? ended_.load(order::relaxed) != kOpen
                                  : header().end.load(order::relaxed) != kOpen;
  return is_over || is_closed_by_reader() || header().lost.load(order::relaxed) != 0;
}

bool SharedStream::is_closed_by_reader() const noexcept {
  return is_usable() && header().closed.load(order::relaxed) != 0;
}

void SharedStream::close_by_reader() noexcept {
  if (is_usable()) header().closed.store(1, order::relaxed);
}

bool SharedStream::is_pressed() const noexcept {
  return is_usable() && header().pressed.load(order::relaxed) != 0;
}

bool SharedStream::take_pressed() noexcept {
  // Not a plain store: see ByteStream::Reading::relieve().
  return is_pressed() && header().pressed.exchange(0, order::acquire("D10")) != 0;
}

// Whose turn it is
// ------------------------------------------------------------------------------------------------

void SharedStream::set_reader(bool is_there) noexcept {
  if (!is_usable()) return;
  if (is_there) {
    header().readers.fetch_or(mark(), order::relaxed);
    header().had_reader.store(1, order::release("D9"));
    return;
  }
  header().readers.fetch_and(~mark(), order::relaxed);
  if (is_our_turn_) end_turn(self());
  is_our_turn_ = false;
}

/// Of a process that goes, or is dead.
void SharedStream::end_turn(std::uint32_t reader) noexcept {
  std::uint64_t const read = header().read.load(order::relaxed);
  if (read < header().given_back.load(order::relaxed)) header().lost.store(1, order::relaxed);
  (void)header().reader.compare_exchange_strong(reader, 0, order::release("D9"), order::relaxed);
}

StreamStore::Turn SharedStream::take_turn(std::uint64_t* position) noexcept {
  if (is_our_turn_) return Turn::ours;
  std::uint32_t nobody = 0;
  if (!is_usable() || !header().reader.compare_exchange_strong(nobody, self(), order::acquire("D9"),
                                                               order::relaxed)) {
    return Turn::others;
  }
  is_our_turn_ = true;
  *position = header().read.load(order::relaxed);
  given_back_.store(header().given_back.load(order::relaxed), order::relaxed);
  return Turn::begins;
}

void SharedStream::recover(unsigned process) noexcept {
  header().readers.fetch_and(~(std::uint64_t{1} << process), order::relaxed);
  if (header().reader.load(order::relaxed) == process + 1) end_turn(process + 1);
  data_.forget(process);
  space_.forget(process);
}

// Reading
// ------------------------------------------------------------------------------------------------

/// The process that made it asks nobody else.
StreamStore::There SharedStream::look(std::uint64_t taken) const noexcept {
  if (!is_usable()) return {Fate::corrupt, taken};
  if (header().lost.load(order::relaxed) != 0) return {Fate::lost, taken};
  std::uint32_t const end = (is_maker() ? ended_ : header().end).load(order::acquire("D11"));
  const bool is_closed = is_closed_by_reader();
  std::uint64_t const written = (is_maker() ? sent_ : header().written).load(order::acquire("D11"));
  // What is written over is given back before: nobody who knows the rules comes so far.
  if (written - taken > shape_.capacity || taken < given_back_.load(order::relaxed))
    return {Fate::corrupt, taken};
  if (is_closed) return {Fate::closed_by_reader, written};
  if (end == kOpen) return {Fate::open, written};
  return {end == kClosed ? Fate::closed : Fate::aborted, written};
}

std::span<const std::uint8_t> SharedStream::bytes(std::uint64_t from,
                                                  std::uint64_t to) const noexcept {
  std::size_t const offset = from & (shape_.capacity - 1);
  return ring().subspan(offset, std::min<std::size_t>(to - from, shape_.capacity - offset));
}

std::unique_ptr<Message> SharedStream::reason() const noexcept {
  std::unique_ptr<Message> reason(new (std::nothrow) Message());
  std::size_t const size = std::min<std::size_t>(header().reason_size, StreamHeader::kReason);
  std::uint8_t* const room = reason != nullptr && size != 0 ? reason->extend(size) : nullptr;
  if (room == nullptr) return nullptr;
  copy_out(room, header().reason, size);
  reason->mark_foreign();
  return reason;
}

std::uint64_t SharedStream::read_to(std::uint64_t position) noexcept {
  if (!is_usable()) return position;
  // First: who dies between leaves nothing lost.
  header().read.store(position, order::relaxed);
  set_aside(position);
  return given_back_.load(order::relaxed);
}

std::uint64_t SharedStream::given_back() const noexcept {
  return is_usable() ? header().given_back.load(order::relaxed) : 0;
}

void SharedStream::set_aside(std::uint64_t position) noexcept {
  if (position <= given_back_.load(order::relaxed) || !is_usable()) return;
  given_back_.store(position, order::relaxed);
  header().given_back.store(position, order::release("D8"));
}

}  // namespace penstock
