// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "penstock/chunk.hpp"
#include "penstock/message.hpp"
#include "penstock/position_line.hpp"
#include "penstock/ref.hpp"
#include "penstock/shared.hpp"
#include "penstock/spin.hpp"
#include "penstock/status.hpp"
#include "penstock/stream_store.hpp"
#include "penstock/waiter.hpp"
#include "penstock/wire.hpp"

namespace penstock {

/// Bytes on their way from writers to readers, without boundaries: the store behind py_buffer. A
/// chain of chunks that never move; what was written never changes.
///
///   first_ ─► chunk ─► chunk ─► chunk ◄─ tail_
///               ▲ read_            ▲ written_
///
/// Threads: writers from any thread; they exclude each other by a try-lock that is held for the
/// copy of less than bytes::kPinThreshold bytes (callers pass longer ones by reference). Readers
/// from any thread; they exclude each other by the reader role, see Reading. Writers and readers
/// never wait for each other: a written position is published, a read position too.
///
/// Cost: a write is a copy, or one allocation if by reference, a fence and a load; no system call
/// unless somebody sleeps. Memory: a chunk of 4 KiB to 64 KiB (or the announced length, if less)
/// at a time, so an announcement allocates nothing.
///
/// Units: positions and sizes are bytes from the beginning of the stream.
///
/// Shared with other processes: what is written goes into memory that they map, too (SharedStream),
/// as a copy. The process whose turn it is to read takes it over into chunks of its own, pull(),
/// and gives its room back as it reads; so nothing else about reading differs. written_ is what was
/// taken over then, and end_ the end if all before it was.
///
/// Edges (read_ and relieved_ need none: writers only count with them):
///   B1  write publishes written_, release -> a reader loads it, acquire: the bytes, and the chunks
///       that hold them.
///   B2  (chunk.hpp) the chain.
///   B3  a writer that finds no room sets pressed_, release -> relieve() takes it back, acquire,
///       and then looks at what is there: it does not miss what left no room, be it for this writer
///       or for one that set the same mark before and sleeps.
///   B4  close and abort store end_, release (and closed_by_reader_ after a fence) -> readers load
///       it, acquire, before they load written_: what was written before the end is not missed, and
///       abort's reason is there.
///   B5  unlock -> lock of the writers' lock: tail_ and the position that is not yet published.
///   B6  unlock -> lock of the reader role: everything that Reading touches.
///   W1  (position_line.hpp) written_, end_ and pressed_ against readers that go to sleep; read_
///       and end_ against writers that do.
class ByteStream final : public Shareable {
 public:
  static constexpr std::uint64_t kUnknown = UINT64_MAX;

  struct Options {
    std::uint64_t content_length = kUnknown;  ///< At most this is accepted; its end is the end.
    std::uint64_t max_unread = 0;             ///< Bytes accepted ahead of readers; 0: any number.
    std::uint64_t limit = kUnknown;           ///< Bytes in all; more aborts the stream.
    bool retains = true;                      ///< What was read stays, for seek().
  };

  /// How the stream ends, or that it goes on.
  enum class End : std::uint32_t {
    open,
    complete,   ///< Closed, or the announced length was reached.
    truncated,  ///< Closed before the announced length was reached.
    aborted,    ///< See reason().
  };

  /// nullptr when memory ran out.
  [[nodiscard]] static Ref<ByteStream> create(const Options& options) noexcept;
  /// One that other processes use as well.
  [[nodiscard]] static Ref<ByteStream> create(std::unique_ptr<StreamStore> store,
                                              const Options& options) noexcept;
  [[nodiscard]] bool is_shared() const noexcept { return store_ != nullptr; }
  [[nodiscard]] const SharedMemory* shared_memory() const noexcept override { return store_.get(); }
  [[nodiscard]] const Options& options() const noexcept { return options_; }

  // Writing
  // ------------------------------------------------------------------------------------------

  /// Appends a copy: ok, or nothing is written: full, too_large (more than max_unread), too_long
  /// (more than was announced), limit (and the stream is aborted), closed (by either side, or
  /// aborted), out_of_memory.
  [[nodiscard]] Status write(std::span<const std::uint8_t> bytes) noexcept;
  /// Appends by reference, and takes `bytes` over if ok.
  [[nodiscard]] Status write(Ref<wire::PinnedBytes>& bytes) noexcept;
  /// For a writer in line for room: instead of full, no_reader when whoever read is gone.
  [[nodiscard]] Status full_or_abandoned() const noexcept;
  /// For a writer of `count` bytes that is in space_waiters(): wake me when they fit.
  void want_room(std::uint64_t count) noexcept;
  [[nodiscard]] WaitList& space_waiters() noexcept { return space_.waiters(); }

  /// The end, for readers once they have read what is there. Idempotent; the first end counts.
  void close() noexcept;
  /// The end, and an error for readers that want more than is there. `reason`: a term in wire form,
  /// or nullptr. ok; of a shared one also too_large (there is no room for such a reason),
  /// not_shared or out_of_memory, and it goes on.
  Status abort(std::unique_ptr<Message> reason) noexcept;
  /// The readers' side is done: writes are refused, what is there is the whole of it, whatever the
  /// end was before.
  void close_by_reader() noexcept;

  [[nodiscard]] bool is_closed() const noexcept {
    return ended() != kOpen || (store_ && store_->is_ended());
  }
  [[nodiscard]] bool is_closed_by_reader() const noexcept {
    return closed_by_reader_.load(order::acquire("B4")) != 0 ||
           (store_ && store_->is_closed_by_reader());
  }
  [[nodiscard]] std::uint64_t written() const noexcept {
    return written_.load(order::acquire("B1"));
  }
  [[nodiscard]] std::uint64_t position() const noexcept { return read_.load(order::relaxed); }
  /// How far it was read and written, wherever that happens; never more read than written.
  struct Progress {
    std::uint64_t read;
    std::uint64_t written;
  };
  [[nodiscard]] Progress progress() const noexcept;
  /// Bytes kept alive elsewhere for this stream.
  [[nodiscard]] std::uint64_t pinned() const noexcept { return pinned_.load(order::relaxed); }

  /// Whoever might read is counted, so that a writer does not wait for room in vain.
  void add_reader() noexcept;
  void remove_reader() noexcept;

  // Between processes
  // ----------------------------------------------------------------------------------------

  /// Of a shared one: whether this is the process that reads. The first that asks is, until none of
  /// its readers (add_reader) is left. Not inside a Reading.
  [[nodiscard]] bool take_turn() noexcept;
  /// Takes over what has come, before it is looked at: with whatever excludes other readers.
  void pull() noexcept;
  /// Bytes that pull() would copy, or more.
  [[nodiscard]] std::uint64_t to_pull() const noexcept {
    return store_ ? store_->written() - written_.load(order::relaxed) : 0;
  }
  void look_for_waiters() noexcept override;
  [[nodiscard]] bool recover(unsigned process) noexcept override;

  // Waiting for bytes
  // ----------------------------------------------------------------------------------------

  /// What a reader waits for: that `position` is written, the end (the announced one, too, if
  /// `position` is behind it), or that a writer finds no room.
  [[nodiscard]] bool is_worth_a_look(std::uint64_t position) const noexcept;
  /// Blocks this thread until is_worth_a_look(position): ok, also if it was woken with others that
  /// wait for less, so look, and wait again; else empty, and `*woken` tells why.
  /// Spins for a little while first if that paid lately. Release the GIL before.
  [[nodiscard]] Status await(std::uint64_t position, std::int64_t deadline_ns, ThreadWaiter& me,
                             ThreadWaiter::Wake* woken) noexcept;
  /// For waiters that are not threads: add to the list, want(), look, then sleep.
  [[nodiscard]] WaitList& data_waiters() noexcept { return data_.waiters(); }
  void want(std::uint64_t position) noexcept {
    data_.want(std::min(position, options_.content_length));
  }

  // Reading
  // ------------------------------------------------------------------------------------------

  /// Everything a reader does is done inside a Reading, which holds the reader role (but for
  /// seen() and consume_seen(), for whom the same holds).
  class Reading;
  [[nodiscard]] bool try_begin_reading() noexcept;
  /// Sleeps while another reader copies.
  void begin_reading() noexcept;
  void end_reading() noexcept;
  /// For readers that exclude each other by a lock of their own, as Python's do by the GIL: while
  /// nobody has the role, and as long as one keeps that lock, one may read without taking it.
  [[nodiscard]] bool is_being_read() const noexcept {
    return reader_role_.load(order::acquire("B6")) != 0;
  }
  /// Somebody's place among those that wait for the role and then for such a lock, for a scope.
  class Place {
   public:
    explicit Place(ByteStream& stream) noexcept : stream_(stream) {
      stream_.in_line_.fetch_add(1, order::relaxed);
    }
    ~Place() {
      stream_.in_line_.fetch_sub(1, order::relaxed);
      futex_wake(&stream_.in_line_, INT32_MAX);
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    ByteStream& stream_;
  };
  [[nodiscard]] bool has_line() const noexcept { return in_line_.load(order::relaxed) != 0; }
  /// Before reading, without the lock: sleeps until one of those has had its chance. Who reads
  /// again and again would take the role from under them, each time before they are awake; for
  /// minutes, on a loaded machine. Not for long, because a place may be that of a thread that never
  /// runs again.
  void let_others_read() noexcept;
  /// What is left of the last Reading::here(): a shortcut for many small reads, without a Reading.
  [[nodiscard]] std::span<const std::uint8_t> seen() const noexcept {
    std::uint64_t const at = position();
    if (at < seen_from_ || at >= seen_to_) return {};
    return {seen_ + (at - seen_from_), static_cast<std::size_t>(seen_to_ - at)};
  }
  /// Moves on by `count` bytes of seen().
  void consume_seen(std::size_t count) noexcept {
    std::uint64_t const at = position() + count;
    if (!options_.retains) base_ = at;
    read_.store(at, order::relaxed);
    if (options_.max_unread != 0) space_.advance(given_back(at));
  }

 private:
  /// In the same word as the count, so that "had some, has none" is one fact.
  static constexpr std::uint32_t kHadReader = std::uint32_t{1} << 31;
  static constexpr std::uint32_t kOpen = 0, kClosed = 1, kAborted = 2, kClosedByReader = 3;

  explicit ByteStream(const Options& options,
                      std::unique_ptr<StreamStore> store = nullptr) noexcept;
  ~ByteStream() override;

  void lock_writers() noexcept;
  void unlock_writers() noexcept;
  [[nodiscard]] Status admit(std::uint64_t count) noexcept;
  [[nodiscard]] Status append_copy(std::span<const std::uint8_t> bytes) noexcept;
  [[nodiscard]] Status append_reference(Ref<wire::PinnedBytes>& bytes) noexcept;
  [[nodiscard]] std::size_t next_capacity() const noexcept;
  void link(Chunk* chunk) noexcept;
  template <class Append>
  [[nodiscard]] Status write(std::uint64_t count, Append append) noexcept;
  [[nodiscard]] Status settle(Status status, std::uint64_t end) noexcept;
  void end(std::uint32_t how, std::unique_ptr<Message> reason) noexcept;
  void end_here(StreamStore::Fate fate) noexcept;
  void end_with(std::string_view reason) noexcept;
  void free_chunks() noexcept;
  void begin_at(std::uint64_t position) noexcept;
  void make_room(std::uint64_t position) noexcept;
  /// The position up to which a writer may take what was unread for read.
  [[nodiscard]] std::uint64_t given_back(std::uint64_t read) noexcept {
    return store_ ? store_->read_to(read) : read;
  }
  [[nodiscard]] std::uint32_t ended() const noexcept { return end_.load(order::acquire("B4")); }

  const Options options_;
  const std::unique_ptr<StreamStore> store_;
  Atomic<Chunk*> first_{nullptr};
  Atomic<std::uint32_t> end_{kOpen};
  Atomic<std::uint32_t> closed_by_reader_{0};  // Set after end_.
  Atomic<std::uint32_t> readers_{0};           // How many, and kHadReader.
  Atomic<std::uint64_t> pinned_{0};            // A statistic.
  std::unique_ptr<Message> reason_;            // Written once, before end_.

  // Writers' line.
  alignas(128) Atomic<std::uint64_t> written_{0};
  Atomic<std::uint32_t> writers_lock_{0};
  Chunk* tail_ = nullptr;

  // Readers' line. read_ is written by the holder of the role only.
  alignas(128) Atomic<std::uint64_t> read_{0};
  Atomic<std::uint32_t> reader_role_{0};  // 0 free, 1 held, 2 held and waited for; a futex.
  Atomic<std::uint32_t> in_line_{0};      // Places; a futex.
  Atomic<std::uint32_t> pressed_{0};      // A writer found no room since a reader last looked.
  Atomic<std::uint64_t> relieved_{0};     // See relieve(). Written by the holder of the role only.
  Chunk* head_ = nullptr;                 // The oldest that is kept, once known.
  Chunk* at_ = nullptr;                   // Holds read_, or ends there.
  std::uint64_t base_ = 0;                // The least position that seek() can reach.
  const std::uint8_t* seen_ = nullptr;    // Where the bytes of [seen_from_, seen_to_) are.
  std::uint64_t seen_from_ = 0;
  std::uint64_t seen_to_ = 0;
  struct Searches;
  std::unique_ptr<Searches> searches_;
  SpinBudget spin_;

  // Read by both, written only when somebody sleeps.
  alignas(128) PositionLine data_;
  PositionLine space_;
};

/// The reader role, for a scope.
///
/// Cost: O(1), but for copies, searches, and seek(), which walks the chain. Copying and searching
/// may be done without the GIL.
class ByteStream::Reading {
 public:
  enum class Role : std::uint8_t {
    held,        ///< After try_begin_reading() or begin_reading(). Given back at the end.
    not_needed,  ///< See is_being_read().
  };
  explicit Reading(ByteStream& stream, Role role = Role::held) noexcept
      : stream_(stream),
        position_(stream.read_.load(order::relaxed)),
        looked_(stream.at_),
        role_(role) {}
  ~Reading() {
    if (role_ == Role::held) stream_.end_reading();
  }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;
  /// Before the lock that stood in for the role is let go of.
  void take_role() noexcept {
    if (role_ == Role::not_needed) stream_.begin_reading();
    role_ = Role::held;
  }

  /// The end as of now. Ask for it before available(): what came before it is then counted.
  [[nodiscard]] End end() noexcept;
  /// After End::aborted: a term in wire form, or nullptr if there was no memory for it.
  [[nodiscard]] const Message* reason() const noexcept { return stream_.reason_.get(); }
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }
  /// Bytes from position() on that are there.
  [[nodiscard]] std::uint64_t available() noexcept { return stream_.written() - position_; }
  /// The position after the last byte that is there.
  [[nodiscard]] std::uint64_t written() noexcept { return position_ + available(); }
  /// The least position that seek() can reach.
  [[nodiscard]] std::uint64_t base() const noexcept { return stream_.base_; }

  /// Those of them that are in one piece.
  [[nodiscard]] std::span<const std::uint8_t> here() noexcept;

  /// Copies `count` bytes from `from` on, position() <= from, all of which are there.
  void copy(std::uint64_t from, std::uint8_t* to, std::size_t count) noexcept;
  /// For a reader that needs more than is there: what is there counts against max_unread no more,
  /// as if it had been read, so that the reader and a writer in want of room do not wait for each
  /// other. In a shared stream only what was there before the last pull(), since that is what the
  /// reader has looked at.
  void relieve() noexcept;
  /// Moves on by `count` bytes that are there; what is not retained is freed.
  void consume(std::uint64_t count) noexcept;
  /// To any position in [base(), written()].
  void seek(std::uint64_t position) noexcept;

  /// `count` bytes from position() on, if one chunk holds them all: data is nullptr otherwise.
  /// `owner` keeps them, and `kept` bytes in all.
  struct Piece {
    const std::uint8_t* data;
    Ref<Object> owner;
    std::size_t kept;
  };
  [[nodiscard]] Piece piece(std::size_t count) noexcept;

  /// Where `needle` first begins in [from, to), position() <= from, to <= written(); kNowhere if it
  /// does not end at or before `to`, or if to < from. Remembers how far it looked, so that looking
  /// for the same again after more has arrived costs only what is new.
  static constexpr std::uint64_t kNowhere = UINT64_MAX;
  [[nodiscard]] std::uint64_t find(std::span<const std::uint8_t> needle, std::uint64_t from,
                                   std::uint64_t to) noexcept;
  /// Same for one byte, without remembering.
  [[nodiscard]] std::uint64_t find(std::uint8_t byte, std::uint64_t from,
                                   std::uint64_t to) noexcept;

 private:
  /// The bytes of [from, to) that the chunk which holds `from` has.
  [[nodiscard]] std::span<const std::uint8_t> span_at(std::uint64_t from,
                                                      std::uint64_t to) noexcept;
  [[nodiscard]] Chunk* chunk_at(std::uint64_t position) noexcept;
  [[nodiscard]] Chunk* first_look(std::uint64_t position) noexcept;
  void free_consumed() noexcept;
  [[nodiscard]] std::uint64_t search(std::span<const std::uint8_t> needle, std::uint64_t from,
                                     std::uint64_t to) noexcept;
  [[nodiscard]] std::uint64_t search_border(std::span<const std::uint8_t> needle,
                                            std::uint64_t border, std::uint64_t from,
                                            std::uint64_t to) noexcept;
  [[nodiscard]] std::uint64_t search_border_slowly(std::span<const std::uint8_t> needle,
                                                   std::uint64_t first, std::uint64_t border,
                                                   std::uint64_t to) noexcept;

  ByteStream& stream_;
  std::uint64_t position_;
  Chunk* looked_;  // Where the last chunk_at() ended.
  Role role_;
};

// What a reader does for each line is inline.

/// `position` is one that is kept; at the very end of what is written, the last chunk.
inline Chunk* ByteStream::Reading::chunk_at(std::uint64_t position) noexcept {
  if (looked_ == nullptr || looked_->start() > position) {
    looked_ = first_look(position);
    if (looked_ == nullptr) return nullptr;
  }
  for (Chunk* next = looked_->next(); next != nullptr && next->start() <= position;
       next = looked_->next()) {
    looked_ = next;
  }
  return looked_;
}

inline std::span<const std::uint8_t> ByteStream::Reading::span_at(std::uint64_t from,
                                                                  std::uint64_t to) noexcept {
  const Chunk* const chunk = chunk_at(from);
  const auto offset = static_cast<std::size_t>(from - chunk->start());
  // A chunk that was left early, for one by reference, ends where the next one starts.
  const Chunk* const next = chunk->next();
  std::uint64_t const end = next != nullptr && next->start() < to ? next->start() : to;
  return {chunk->data() + offset, static_cast<std::size_t>(end - from)};
}

inline void ByteStream::Reading::consume(std::uint64_t count) noexcept {
  position_ += count;
  stream_.at_ = chunk_at(position_);
  if (!stream_.options_.retains) {
    stream_.base_ = position_;
    free_consumed();
  }
  stream_.read_.store(position_, order::relaxed);
  if (stream_.options_.max_unread != 0) stream_.space_.advance(stream_.given_back(position_));
}

}  // namespace penstock
