// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>

#include "penstock/byte_stream.hpp"
#include "penstock/domain.hpp"
#include "penstock/far_line.hpp"
#include "penstock/portable.hpp"
#include "penstock/segment.hpp"
#include "penstock/stream_store.hpp"

namespace penstock {

/// The memory of a stream that processes share: a header, then a ring of bytes.
///
///   offset  0   magic, version, capacity of the ring, max_size, content_length, retains
///         128   the writer: `written`; `end` (0 open, 1 closed, 2 aborted), length of the reason
///         256   who reads: `read`; `given_back`; `reader`, number of its process plus 1; `lost`;
///               `closed`
///         384   marks of processes that wait for bytes, and the position they want; the same for
///               room; marks of those with somebody who might read; whether anybody ever was;
///               `pressed`
///         512   the reason of an abort, in portable form
///        4096   the ring: the byte at position p lies at p mod capacity
///
/// Positions count bytes from the beginning. given_back <= written <= given_back + max_size.
struct StreamHeader {
  static constexpr std::uint32_t kMagic = 0x65706970;  // "pipe" in memory on x86-64.
  static constexpr std::uint32_t kVersion = 1;
  static constexpr std::size_t kReason = 3584;

  std::uint32_t magic;
  std::uint32_t version;
  std::uint64_t capacity;
  std::uint64_t max_size;
  std::uint64_t content_length;
  std::uint32_t retains;
  alignas(128) Atomic<std::uint64_t> written;
  Atomic<std::uint32_t> end;
  std::uint32_t reason_size;
  alignas(128) Atomic<std::uint64_t> read;
  Atomic<std::uint64_t> given_back;
  Atomic<std::uint32_t> reader;
  Atomic<std::uint32_t> lost;
  Atomic<std::uint32_t> closed;
  alignas(128) Atomic<std::uint64_t> data;
  Atomic<std::uint64_t> wanted_data;
  Atomic<std::uint64_t> space;
  Atomic<std::uint64_t> wanted_space;
  Atomic<std::uint64_t> readers;
  Atomic<std::uint32_t> had_reader;
  Atomic<std::uint32_t> pressed;
  alignas(128) std::uint8_t reason[kReason];
};
static_assert(sizeof(StreamHeader) == 4096);

/// A stream's bytes in memory that other processes map as well: a pipe, which the process that made
/// it writes, and of the others (or that one) one at a time reads. They are not trusted: each word
/// of theirs is read once and checked, and what breaks the rules ends the stream.
///
/// What was read is given back for the writer to write over; so a process that dies, or goes,
/// leaves what it had not read to the next one. Only what a reader has set aside, because it needs
/// more at a time than the writer may write ahead, goes with it: then the stream is lost.
///
/// Threads: as StreamStore. Cost: write() is a copy under a mutex of the writers'.
/// Errors: as StreamStore; the factories throw system_error or bad_alloc.
///
/// Edges, beside those of FarLine:
///   D11 write() and an end store `written` and `end`, release -> look() loads them, acquire: the
///       bytes, and the reason. The end is looked at first.
///   D8  read_to() and set_aside() store `given_back`, release -> write() loads it, acquire: the
///       copying of what is written over is done.
///   D9  a process whose turn ends stores `reader`, release -> the next one takes it, acquire:
///       where it stopped.
///   D10 a writer without room sets `pressed`, release -> take_pressed() takes it back, acquire,
///       and then looks at what is there (as B3).
class SharedStream final : public StreamStore {
 public:
  static constexpr std::uint64_t kDefaultSize = std::uint64_t{1} << 18;
  static constexpr std::uint64_t kMostSize = std::uint64_t{1} << 24;

  using OnGone = std::function<void(const ByteStream& stream)>;

  /// A new stream that any process of `domain` may read. `options.max_unread`: at most kMostSize;
  /// 0: kDefaultSize. `porter`: converts reasons; lives longer.
  [[nodiscard]] static Ref<ByteStream> create(Ref<Domain> domain, wire::Porter& porter,
                                              ByteStream::Options options);
  /// The memory of one that another process made, whom we trust. Takes over the descriptor, also on
  /// failure.
  [[nodiscard]] static std::shared_ptr<const Segment> map(int descriptor, const SharedShape& shape);
  /// A stream of this process over it. `on_gone`: called by the stream's destructor.
  [[nodiscard]] static Ref<ByteStream> attach(Ref<Domain> domain, wire::Porter& porter,
                                              std::shared_ptr<const Segment> segment,
                                              const SharedShape& shape, OnGone on_gone = {});

  [[nodiscard]] int descriptor() const noexcept override { return segment_->descriptor(); }
  [[nodiscard]] SharedShape shape() const noexcept override { return shape_; }
  [[nodiscard]] const std::shared_ptr<const Segment>& memory() const noexcept { return segment_; }

  ~SharedStream() override;

  [[nodiscard]] bool is_usable() const noexcept override { return data_.is_usable(); }
  void belongs_to(ByteStream& stream) override;
  [[nodiscard]] Status write(std::span<const std::uint8_t> bytes) noexcept override;
  void close() noexcept override;
  [[nodiscard]] Status abort(const Message* reason) noexcept override;
  [[nodiscard]] bool is_abandoned() const noexcept override;
  [[nodiscard]] std::uint64_t written() const noexcept override;
  [[nodiscard]] std::uint64_t read() const noexcept override;
  [[nodiscard]] bool is_ended() const noexcept override;
  [[nodiscard]] bool is_closed_by_reader() const noexcept override;
  void close_by_reader() noexcept override;
  void press() noexcept override;
  [[nodiscard]] bool is_pressed() const noexcept override;
  [[nodiscard]] bool take_pressed() noexcept override;
  void set_reader(bool is_there) noexcept override;
  [[nodiscard]] Turn take_turn(std::uint64_t* position) noexcept override;
  [[nodiscard]] There look(std::uint64_t taken) const noexcept override;
  [[nodiscard]] std::span<const std::uint8_t> bytes(std::uint64_t from,
                                                    std::uint64_t to) const noexcept override;
  [[nodiscard]] std::unique_ptr<Message> reason() const noexcept override;
  [[nodiscard]] std::uint64_t read_to(std::uint64_t position) noexcept override;
  [[nodiscard]] std::uint64_t given_back() const noexcept override;
  void set_aside(std::uint64_t position) noexcept override;
  [[nodiscard]] FarWaiters& data() noexcept override { return data_; }
  [[nodiscard]] FarWaiters& space() noexcept override { return space_; }
  [[nodiscard]] Atomic<std::uint64_t>& wanted_data() noexcept override {
    return header().wanted_data;
  }
  [[nodiscard]] Atomic<std::uint64_t>& wanted_space() noexcept override {
    return header().wanted_space;
  }
  void recover(unsigned process) noexcept override;

 private:
  static constexpr std::uint32_t kOpen = 0, kClosed = 1, kAborted = 2;

  SharedStream(Ref<Domain> domain, wire::Porter& porter, std::shared_ptr<const Segment> segment,
               const SharedShape& shape, std::uint64_t limit, OnGone on_gone) noexcept;
  [[nodiscard]] static Ref<ByteStream> stream_of(std::unique_ptr<SharedStream> store,
                                                 const ByteStream::Options& options);
  [[nodiscard]] StreamHeader& header() const noexcept;
  [[nodiscard]] std::span<std::uint8_t> ring() const noexcept;
  [[nodiscard]] bool is_maker() const noexcept { return domain_->number() == 0; }
  [[nodiscard]] std::uint32_t self() const noexcept { return domain_->number() + 1; }
  [[nodiscard]] std::uint64_t mark() const noexcept {
    return std::uint64_t{1} << domain_->number();
  }
  [[nodiscard]] Status admit(std::uint64_t count) noexcept;
  void copy_to_ring(std::uint64_t at, std::span<const std::uint8_t> bytes) noexcept;
  void end_turn(std::uint32_t reader) noexcept;

  const Ref<Domain> domain_;
  wire::Porter& porter_;
  const std::shared_ptr<const Segment> segment_;
  const SharedShape shape_;  // Our own copy.
  const std::uint64_t limit_;
  const OnGone on_gone_;
  FarLine data_;
  FarLine space_;
  ByteStream* stream_ = nullptr;  // Which owns us.

  // The writer's, in the process that made it.
  std::mutex writing_;             // Guards what follows, to write it.
  Atomic<std::uint64_t> sent_{0};  // What the header says is for the others.
  std::uint64_t given_back_seen_ = 0;
  Atomic<std::uint32_t> ended_{kOpen};

  bool is_our_turn_ = false;             // Under the stream's writers' lock.
  Atomic<std::uint64_t> given_back_{0};  // Written by who reads.
};

}  // namespace penstock
