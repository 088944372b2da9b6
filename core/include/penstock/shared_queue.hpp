// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "penstock/channel.hpp"
#include "penstock/domain.hpp"
#include "penstock/mpsc_ring.hpp"
#include "penstock/portable.hpp"
#include "penstock/segment.hpp"
#include "penstock/shared_store.hpp"

#ifndef PENSTOCK_LEAST_IN_PLACE  // The explorer's messages are shorter (tests/model).
#define PENSTOCK_LEAST_IN_PLACE 8192
#endif

namespace penstock {

/// The memory of a channel that processes share: a header, then an MpscRing.
///
///   offset  0   magic, version, capacity of the ring, max_size, content
///         128   data: marks of processes where somebody waits for a message (FarLine)
///         136   space: the same for room
///         144   senders: marks of processes that could still send
///         256   consumer: number of the process that takes a message, plus 1, and bit 8: others
///               want to
///         260   leased: not 0: some records are read where they lie
///         264   next: then, position of the next record; else it is the ring's head
///         272   leases: those records: position << 8 | number of the process, plus 1; 0: free
///         384   the ring
///
/// Records are messages in portable form, or raw bytes. Producers get room up to the oldest record
/// that is still read.
struct SharedHeader {
  static constexpr std::uint32_t kMagic = 0x6E616863;  // "chan" in memory on x86-64.
  static constexpr std::uint32_t kVersion = 1;

  std::uint32_t magic;
  std::uint32_t version;
  std::uint64_t capacity;
  std::uint64_t max_size;
  std::uint32_t content;
  alignas(128) Atomic<std::uint64_t> data;
  Atomic<std::uint64_t> space;
  Atomic<std::uint64_t> senders;
  static constexpr unsigned kLeases = 14;
  alignas(128) Atomic<std::uint32_t> consumer;
  // Of who has that role, but that whoever reads a record ends its lease.
  Atomic<std::uint32_t> leased;
  Atomic<std::uint64_t> next;
  Atomic<std::uint64_t> leases[kLeases];
};
static_assert(sizeof(SharedHeader) == 384);

/// A channel's messages in memory that other processes map as well. They are not trusted: each word
/// of theirs is read once and checked, and what breaks the rules closes the channel.
///
/// Threads: as SharedStore. Cost: beside that of the ring, pop() two read-modify-writes.
/// Errors: as SharedStore; the factories throw system_error or bad_alloc.
///
/// Edges, beside those of MpscRing and FarLine:
///   D2  who takes messages gives the role back by an exchange, release -> the next one takes it,
///       acquire: the ring's head. Who finds it taken says so, release -> whoever takes it after
///       that exchange, acquire: the lease that was ended. Each change of the word is a
///       read-modify-write, so who takes it sees what all before had to tell.
///   D7  who has read a record in place stores 0 in its lease, release -> who has the role loads
///       that, acquire, and then P2: no producer writes there before.
///   D12 who takes a record in place stores `leased` behind `next`, and who finds no lease left
///       behind `head`, release -> consumer() loads it, acquire: the one of both that counts. Also
///       for who looks without the role; and no compiler moves the stores of a lease behind that of
///       `leased`, so that a process that dies between leaves nothing that counts and is not there.
///   D4  set_sender takes a mark away, release -> has_sender loads the marks, acquire: what the
///       last one sent (as C2).
class SharedQueue final : public SharedStore {
 public:
  static constexpr std::uint64_t kDefaultSize = std::uint64_t{1} << 18;
  static constexpr std::uint64_t kMostSize = std::uint64_t{1} << 24;
  static constexpr std::uint64_t kLeastSize = 1024;
  /// A message that is shorter is copied, also if it may be read in place.
  static constexpr std::size_t kLeastInPlace = PENSTOCK_LEAST_IN_PLACE;

  using OnGone = std::function<void(const Channel& channel)>;

  /// A new channel that any process of `domain` may use, for messages of up to `max_size` bytes, at
  /// most kMostSize. `porter`: converts terms; lives longer.
  [[nodiscard]] static Ref<Channel> create(Ref<Domain> domain, wire::Porter& porter,
                                           std::uint64_t max_size, Channel::Content content);
  /// The memory of one that another process made, whom we trust. Takes over the descriptor, also on
  /// failure.
  [[nodiscard]] static std::shared_ptr<const Segment> map(int descriptor, const SharedShape& shape);
  /// A channel of this process in it. `on_gone`: called by the channel's destructor.
  [[nodiscard]] static Ref<Channel> attach(Ref<Domain> domain, wire::Porter& porter,
                                           std::shared_ptr<const Segment> segment,
                                           const SharedShape& shape, OnGone on_gone = {});

  /// To pass it on.
  [[nodiscard]] int descriptor() const noexcept override { return segment_->descriptor(); }
  [[nodiscard]] SharedShape shape() const noexcept override;
  /// Bytes before the next message that are not given back, because some are read in place. A hint,
  /// for any thread.
  [[nodiscard]] std::uint64_t leased() const noexcept;
  [[nodiscard]] const std::shared_ptr<const Segment>& memory() const noexcept { return segment_; }

  ~SharedQueue() override;

  [[nodiscard]] bool is_usable() const noexcept override { return data_.is_usable(); }
  void belongs_to(Channel& channel) override;
  [[nodiscard]] Status push(const Message& message) noexcept override;
  [[nodiscard]] Status pop(Message& message, bool* is_wanted) noexcept override;
  [[nodiscard]] bool has_record() const noexcept override;
  [[nodiscard]] bool has_room() const noexcept override;
  [[nodiscard]] std::uint64_t size() const noexcept override;
  [[nodiscard]] std::uint64_t next_size() const noexcept override;
  void close() noexcept override;
  [[nodiscard]] bool is_closed() const noexcept override;
  void set_sender(bool is_there) noexcept override;
  [[nodiscard]] bool has_sender() const noexcept override;
  [[nodiscard]] FarWaiters& data() noexcept override { return data_; }
  [[nodiscard]] FarWaiters& space() noexcept override { return space_; }
  [[nodiscard]] bool recover(unsigned process) noexcept override;
  [[nodiscard]] bool collect() noexcept override;

 private:
  class Leased;
  static constexpr std::uint32_t kWanted = 1U << 8;

  SharedQueue(Ref<Domain> domain, wire::Porter& porter, std::shared_ptr<const Segment> segment,
              const SharedShape& shape, OnGone on_gone) noexcept;
  [[nodiscard]] static Ref<Channel> channel_of(std::unique_ptr<SharedQueue> queue);
  [[nodiscard]] SharedHeader& header() const noexcept;
  [[nodiscard]] std::span<std::uint8_t> ring() const noexcept;
  [[nodiscard]] std::uint32_t self() const noexcept { return domain_->number() + 1; }
  [[nodiscard]] std::uint64_t mark() const noexcept {
    return std::uint64_t{1} << domain_->number();
  }
  [[nodiscard]] MpscConsumer consumer() const noexcept;
  [[nodiscard]] Status take(Message& message) noexcept;
  [[nodiscard]] bool take_in_place(MpscConsumer& ring, std::span<const std::uint8_t> record,
                                   Message& message) noexcept;
  void go_on(MpscConsumer& ring) noexcept;
  void end_leases_of(unsigned process) noexcept;
  [[nodiscard]] bool may_recover(std::uint32_t role, unsigned process) const noexcept;
  [[nodiscard]] bool take_role() noexcept;
  [[nodiscard]] bool try_take_role() noexcept;
  [[nodiscard]] bool want_role() noexcept;
  [[nodiscard]] bool leave_role() noexcept;

  const Ref<Domain> domain_;
  wire::Porter& porter_;
  const std::shared_ptr<const Segment> segment_;
  const SharedShape shape_;  // Our own copy.
  const OnGone on_gone_;
  MpscProducer producer_;
  FarLine data_;
  FarLine space_;
  Channel* channel_ = nullptr;  // Which owns us.
};

}  // namespace penstock
