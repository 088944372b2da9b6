// SPDX-License-Identifier: Apache-2.0
#include "penstock/byte_stream.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "byte_search.hpp"

namespace penstock {

namespace {

constexpr std::size_t kFirstCapacity = 4096 - sizeof(Chunk);
constexpr std::int64_t kCourtesy_ns = 10'000'000;  ///< See let_others_read().
constexpr std::size_t kMaxCapacity = 65536 - sizeof(Chunk);

}  // namespace

Ref<ByteStream> ByteStream::create(const Options& options) noexcept {
  return Ref<ByteStream>::steal(new (std::nothrow) ByteStream(options));
}

Ref<ByteStream> ByteStream::create(std::unique_ptr<StreamStore> store,
                                   const Options& options) noexcept {
  StreamStore& shared = *store;
  auto stream = Ref<ByteStream>::steal(new (std::nothrow) ByteStream(options, std::move(store)));
  if (!stream) return {};
  stream->data_.set_far(shared.data(), shared.wanted_data());
  stream->space_.set_far(shared.space(), shared.wanted_space());
  try {
    shared.belongs_to(*stream);
  } catch (const std::bad_alloc&) {
    return {};
  }
  return stream;
}

ByteStream::ByteStream(const Options& options, std::unique_ptr<StreamStore> store) noexcept
    : options_(options), store_(std::move(store)) {}

// O1 ordered whatever the other threads did.
ByteStream::~ByteStream() { free_chunks(); }

void ByteStream::free_chunks() noexcept {
  Chunk* chunk = head_ != nullptr ? head_ : first_.load(order::relaxed);
  while (chunk != nullptr) {
    Chunk* const next = chunk->next();
    chunk->release();
    chunk = next;
  }
}

// Writing
// ------------------------------------------------------------------------------------------

void ByteStream::lock_writers() noexcept {
  for (unsigned turn = 0; writers_lock_.exchange(1, order::acquire("B5")) != 0; ++turn) {
    // In a forked child whoever held it is not there, and the store does nothing.
    if (store_ && !store_->is_usable()) return;
    spin_pause(turn);  // Held for one copy of a few KiB.
  }
}

void ByteStream::unlock_writers() noexcept { writers_lock_.store(0, order::release("B5")); }

/// Holds the writers' lock.
Status ByteStream::admit(std::uint64_t count) noexcept {
  if (end_.load(order::relaxed) != kOpen) return Status::closed;  // Set under the lock.
  std::uint64_t const written = written_.load(order::relaxed);    // We are the writer.
  if (count > options_.content_length - written) return Status::too_long;
  if (count > options_.limit - written) return Status::limit;
  if (options_.max_unread == 0) return Status::ok;
  if (count > options_.max_unread) return Status::too_large;
  std::uint64_t const unread =
      written - std::max(read_.load(order::relaxed), relieved_.load(order::relaxed));
  return unread + count <= options_.max_unread ? Status::ok : Status::full;
}

template <class Append>
Status ByteStream::write(std::uint64_t count, Append append) noexcept {
  lock_writers();
  Status status = admit(count);
  if (status == Status::ok && count != 0) status = append();
  std::uint64_t const end = written_.load(order::relaxed) + count;
  if (status == Status::ok) written_.store(end, order::release("B1"));
  unlock_writers();
  return settle(status, end);
}

/// What follows a write that was, or would have been, up to `end`.
Status ByteStream::settle(Status status, std::uint64_t end) noexcept {
  if (status == Status::ok) {
    data_.advance(end);
  } else if (status == Status::full) {
    // Before the fence of the next line: a reader that goes to sleep is woken, or looks at it.
    if (store_) {
      store_->press();
    } else {
      pressed_.store(1, order::release("B3"));
    }
    data_.wake_all();
  } else if (status == Status::limit) {
    std::unique_ptr<Message> reason(new (std::nothrow) Message());
    if (reason != nullptr) (void)wire::Writer(*reason).atom("limit");  // Fits inside.
    (void)abort(std::move(reason));
  }
  return status;
}

Status ByteStream::write(std::span<const std::uint8_t> bytes) noexcept {
  if (store_) {
    const Status status = store_->write(bytes);
    return settle(status, store_->written());
  }
  return write(bytes.size(), [&] { return append_copy(bytes); });
}

Status ByteStream::write(Ref<wire::PinnedBytes>& bytes) noexcept {
  if (store_) {
    const Status status = write(bytes->bytes());
    if (status == Status::ok) bytes = {};
    return status;
  }
  return write(bytes->bytes().size(), [&] { return append_reference(bytes); });
}

/// Grows with what arrives, and never for more than was announced.
std::size_t ByteStream::next_capacity() const noexcept {
  std::size_t capacity = kFirstCapacity;
  if (tail_ != nullptr && !tail_->is_pinned()) capacity = 2 * tail_->capacity();
  if (options_.content_length != kUnknown) capacity = kMaxCapacity;
  std::uint64_t const missing = options_.content_length - written_.load(order::relaxed);
  return static_cast<std::size_t>(
      std::min<std::uint64_t>(missing, std::min(capacity, kMaxCapacity)));
}

void ByteStream::link(Chunk* chunk) noexcept {
  if (tail_ == nullptr) {
    first_.store(chunk, order::release("B2"));
  } else {
    tail_->set_next(chunk);
  }
  tail_ = chunk;
}

Status ByteStream::append_copy(std::span<const std::uint8_t> bytes) noexcept {
  std::uint64_t const at = written_.load(order::relaxed);
  std::size_t used = 0;
  std::size_t room = 0;
  if (tail_ != nullptr && !tail_->is_pinned()) {
    used = static_cast<std::size_t>(at - tail_->start());
    room = tail_->capacity() - used;
  }
  Chunk* const last = tail_;
  std::size_t const here = std::min(room, bytes.size());
  std::size_t const rest = bytes.size() - here;
  if (rest != 0) {
    // Before anything is copied, so that there is nothing to undo.
    Chunk* const chunk = Chunk::create(at + here, std::max(rest, next_capacity()));
    if (chunk == nullptr) return Status::out_of_memory;
    copy_in(chunk->room(), bytes.data() + here, rest);
    link(chunk);
  }
  if (here != 0) copy_in(last->room() + used, bytes.data(), here);
  return Status::ok;
}

Status ByteStream::append_reference(Ref<wire::PinnedBytes>& bytes) noexcept {
  Chunk* const chunk = Chunk::create(written_.load(order::relaxed), bytes);
  if (chunk == nullptr) return Status::out_of_memory;
  pinned_.fetch_add(chunk->capacity(), order::relaxed);
  link(chunk);
  return Status::ok;
}

Status ByteStream::full_or_abandoned() const noexcept {
  if (store_) return store_->is_abandoned() ? Status::no_reader : Status::full;
  return readers_.load(order::relaxed) == kHadReader ? Status::no_reader : Status::full;
}

void ByteStream::want_room(std::uint64_t count) noexcept {
  std::uint64_t const end = progress().written + count;
  // No earlier than now: others may write meanwhile, and then the writer looks in vain.
  space_.want(end > options_.max_unread ? end - options_.max_unread : 0);
}

void ByteStream::end(std::uint32_t how, std::unique_ptr<Message> reason) noexcept {
  lock_writers();
  if (end_.load(order::relaxed) == kOpen) {
    reason_ = std::move(reason);
    end_.store(how, order::release("B4"));
  }
  unlock_writers();
  data_.wake_all();
  space_.wake_all();
}

void ByteStream::close() noexcept {
  if (!store_) return end(kClosed, nullptr);
  store_->close();
  data_.wake_all();
  space_.wake_all();
}

void ByteStream::close_by_reader() noexcept {
  if (store_) {
    if (!store_->is_usable()) return;
    store_->close_by_reader();
    data_.wake_all();
    space_.wake_all();
    return;
  }
  end(kClosedByReader, nullptr);
  // Last: a reader that sees this must find that no more is written. The fences of end() order it.
  closed_by_reader_.store(1, order::relaxed);
}
Status ByteStream::abort(std::unique_ptr<Message> reason) noexcept {
  if (!store_) {
    end(kAborted, std::move(reason));
    return Status::ok;
  }
  const Status status = store_->abort(reason.get());
  data_.wake_all();
  space_.wake_all();
  return status;
}

void ByteStream::add_reader() noexcept {
  if (store_) lock_writers();
  if (store_ && (readers_.load(order::relaxed) & ~kHadReader) == 0) store_->set_reader(true);
  if ((readers_.fetch_add(1, order::relaxed) & kHadReader) == 0) {
    readers_.fetch_or(kHadReader, order::relaxed);
  }
  if (store_) unlock_writers();
}

void ByteStream::remove_reader() noexcept {
  if (store_) lock_writers();
  const bool is_last = readers_.fetch_sub(1, order::relaxed) == (kHadReader | 1);
  if (store_) {
    if (is_last) store_->set_reader(false);
    unlock_writers();
    if (!store_->is_usable()) return;
  }
  if (is_last) space_.wake_all();
}

ByteStream::Progress ByteStream::progress() const noexcept {
  std::uint64_t const read = store_ ? store_->read() : position();  // First.
  return {read, store_ ? store_->written() : written()};
}

// Waiting for bytes
// --------------------------------------------------------------------------------------

bool ByteStream::is_worth_a_look(std::uint64_t position) const noexcept {
  // Relaxed: the look that follows has the order.
  std::uint64_t const wanted = std::min(position, options_.content_length);
  if (store_) {
    return store_->written() >= wanted || is_closed() || store_->is_pressed();
  }
  return written_.load(order::relaxed) >= wanted || ended() != kOpen ||
         pressed_.load(order::relaxed) != 0;
}

Status ByteStream::await(std::uint64_t position, std::int64_t deadline_ns, ThreadWaiter& me,
                         ThreadWaiter::Wake* woken) noexcept {
  std::int64_t const started = now_ns();
  if (spin_.spin(started, deadline_ns, [&] { return is_worth_a_look(position); })) {
    spin_.learn(now_ns() - started);
    return Status::ok;
  }
  data_.waiters().add(me);
  want(position);
  ThreadWaiter::Wake wake = ThreadWaiter::Wake::fired;
  const bool ready = is_worth_a_look(position);
  if (!ready) wake = me.park(deadline_ns);
  (void)me.leave(data_.waiters());
  WaitList::forget_place(me);
  spin_.learn(now_ns() - started);
  if (ready || wake == ThreadWaiter::Wake::fired) return Status::ok;
  *woken = wake;
  return Status::empty;
}

// The reader role
// ----------------------------------------------------------------------------------------

bool ByteStream::try_begin_reading() noexcept {
  std::uint32_t free = 0;
  return reader_role_.compare_exchange_strong(free, 1, order::acquire("B6"), order::relaxed);
}

void ByteStream::begin_reading() noexcept {
  if (try_begin_reading()) return;
  while (reader_role_.exchange(2, order::acquire("B6")) != 0) {
    futex_wait(reader_role_, 2, kNoDeadline);
  }
}

void ByteStream::end_reading() noexcept {
  if (reader_role_.exchange(0, order::release("B6")) == 2) futex_wake(&reader_role_, 1);
}

void ByteStream::let_others_read() noexcept {
  std::uint32_t const waiting = in_line_.load(order::relaxed);
  if (waiting != 0) (void)futex_wait(in_line_, waiting, now_ns() + kCourtesy_ns);
}

ByteStream::End ByteStream::Reading::end() noexcept {
  std::uint32_t const how = stream_.ended();
  std::uint64_t const announced = stream_.options_.content_length;
  if (announced != kUnknown && stream_.written() >= announced) return End::complete;
  if (how == kOpen) return End::open;
  if (stream_.is_closed_by_reader()) return End::complete;
  switch (how) {
    case kClosed:
      return announced != kUnknown ? End::truncated : End::complete;
    case kAborted:
      return End::aborted;
    default:
      return End::complete;
  }
}

/// Where to look for a position that is before the chunk looked at last.
Chunk* ByteStream::Reading::first_look(std::uint64_t position) noexcept {
  if (stream_.head_ == nullptr) stream_.head_ = stream_.first_.load(order::acquire("B2"));
  const bool is_after = stream_.at_ != nullptr && stream_.at_->start() <= position;
  return is_after ? stream_.at_ : stream_.head_;
}

std::span<const std::uint8_t> ByteStream::Reading::here() noexcept {
  std::uint64_t const end = stream_.written();
  if (end == position_) return {};
  stream_.at_ = chunk_at(position_);
  if (!stream_.options_.retains) free_consumed();  // What consume_seen() left behind.
  const auto bytes = span_at(position_, end);
  stream_.seen_ = bytes.data();
  stream_.seen_from_ = position_;
  stream_.seen_to_ = position_ + bytes.size();
  return bytes;
}

void ByteStream::Reading::copy(std::uint64_t from, std::uint8_t* to, std::size_t count) noexcept {
  std::uint64_t const end = from + count;
  while (from < end) {
    const auto bytes = span_at(from, end);
    copy_out(to, bytes.data(), bytes.size());
    to += bytes.size();
    from += bytes.size();
  }
}

void ByteStream::Reading::relieve() noexcept {
  if (stream_.store_) return stream_.make_room(position_);
  // Not a plain store: it would overwrite a writer's mark without having seen what that writer saw.
  if (stream_.pressed_.load(order::relaxed) != 0) {
    stream_.pressed_.exchange(0, order::acquire("B3"));
  }
  std::uint64_t const end = written();
  stream_.relieved_.store(end, order::relaxed);  // Ordered by the fence of the next line.
  stream_.space_.advance(end);
}

/// The chunks that end at or before base_, up to the one that holds the position.
void ByteStream::Reading::free_consumed() noexcept {
  while (stream_.head_ != stream_.at_) {
    Chunk* const consumed = stream_.head_;
    Chunk* const next = consumed->next();
    if (next->start() > stream_.base_) return;
    stream_.seen_to_ = 0;  // It may have been there.
    stream_.head_ = next;
    if (consumed->is_pinned()) stream_.pinned_.fetch_sub(consumed->capacity(), order::relaxed);
    consumed->release();
  }
}

void ByteStream::Reading::seek(std::uint64_t position) noexcept {
  position_ = position;
  looked_ = nullptr;
  if (stream_.at_ != nullptr && stream_.at_->start() > position) stream_.at_ = nullptr;
  stream_.at_ = chunk_at(position);
  stream_.read_.store(position, order::relaxed);
  if (stream_.options_.max_unread != 0) stream_.space_.advance(stream_.given_back(position));
}

ByteStream::Reading::Piece ByteStream::Reading::piece(std::size_t count) noexcept {
  if (count == 0) return {nullptr, {}, 0};  // There may be no chunk yet.
  const auto bytes = span_at(position_, position_ + count);
  if (bytes.size() < count) return {nullptr, {}, 0};
  Chunk* const chunk = chunk_at(position_);
  return {bytes.data(), Ref<Object>::borrow(chunk), chunk->capacity()};
}

}  // namespace penstock
