// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/message.hpp"
#include "penstock/queue.hpp"
#include "penstock/ref.hpp"
#include "penstock/segment.hpp"
#include "penstock/spin.hpp"
#include "penstock/spsc_ring.hpp"
#include "penstock/status.hpp"

namespace penstock {

/// One end of the connection between the VM and a worker process: two rings in one sealed memfd,
/// and a stream socket, which is the bell of whoever sleeps and whose end is the other one's.
///
///   send ──► queue ──► ring in shared memory ──► receive
///            any thread    one at a time             one thread
///
/// A frame is a Message that owns no objects (portable.hpp). One that is longer than a piece
/// crosses in several. A sender puts it into the queue and empties that into the ring, unless
/// somebody else does; where the ring is full the rest stays until the other end has made room, and
/// whoever receives here moves it on then. So no sender ever waits.
///
/// The other end is not trusted: each of its words is read once and checked, nothing outside the
/// memory is touched, and no call takes longer than the ring and the frame are long.
///
/// Threads: send(), wake() and hang_up() any; receive() one at a time.
/// Cost: send without a system call while the other end is awake; receive sleeps in poll().
/// Units: kCapacity bytes in each direction; frames of at most Message::kMaxBytes.
///
/// Edges, beside those of SpscRing and Queue:
///   S1  whoever empties the queue moves senders_ from and to 0, acq_rel: what the one before knew
///       of the ring, and the rest of its frame.
///   S2  (store-load) a sleeper stores asleep, fence, looks at the rings once more; the other end
///       writes its ring, fence, loads asleep.
class Link final : public Object {
 public:
  enum class Side : std::uint8_t { vm, worker };
  static constexpr std::uint64_t kCapacity = std::uint64_t{1} << 20;

  /// How large the segment is.
  [[nodiscard]] static std::size_t bytes() noexcept;
  /// Takes over the segment, which is new on the VM's side, and the socket. `process`: readable
  /// when the other end's process is gone, whoever else may hold its socket; or -1. Throws
  /// bad_alloc or system_error; and bad_alloc if the other end did not make the segment.
  [[nodiscard]] static Ref<Link> create(Segment segment, int socket, Side side, int process = -1);

  /// ok, and `frame` is empty; closed or out_of_memory.
  [[nodiscard]] Status send(Message& frame) noexcept;

  /// The next frame, into `frame`, which is empty or what the last call left there: ok; empty:
  /// wake() was called, or `deadline_ns` (CLOCK_MONOTONIC) passed; closed: the other end is gone,
  /// and all that it sent was received; corrupt: it breaks the rules; out_of_memory.
  [[nodiscard]] Status receive(Message& frame, std::int64_t deadline_ns) noexcept;
  /// Makes receive() return, now or the next time that it would sleep.
  void wake() noexcept;
  /// Whether all that was sent has left for the ring. A hint.
  [[nodiscard]] bool is_idle() const noexcept {
    return senders_.load(order::relaxed) == 0 && is_stuck_.load(order::relaxed) == 0;
  }
  /// The other end learns that this one is gone. What is sent from now on is dropped.
  void hang_up() noexcept;

 private:
  struct Header;
  struct Sleep;
  Link(Segment segment, int socket, int event, int process, Side side) noexcept;
  ~Link() override;

  void pump() noexcept;
  void empty_queue() noexcept;
  [[nodiscard]] bool put_rest() noexcept;
  [[nodiscard]] Status put_piece() noexcept;
  [[nodiscard]] Status take(Message& frame) noexcept;
  [[nodiscard]] Status take_piece(Message& frame, bool* is_last) noexcept;
  void tell_of_room() noexcept;
  [[nodiscard]] Status sleep(std::int64_t deadline_ns) noexcept;
  [[nodiscard]] Status hear(std::int64_t deadline_ns) noexcept;
  void ring_bell() noexcept;
  [[nodiscard]] Sleep& mine() const noexcept;
  [[nodiscard]] Sleep& theirs() const noexcept;

  const Segment segment_;
  const int socket_;
  const int event_;    // wake()'s.
  const int process_;  // Not ours.
  const Side side_;

  Queue queue_;
  Atomic<std::uint32_t> senders_{0};
  Atomic<std::uint32_t> is_stuck_{0};  // The ring was full.
  Atomic<std::uint32_t> is_corrupt_{0};
  Atomic<std::uint32_t> is_closed_{0};
  // Who empties the queue has these (S1).
  SpscProducer out_;
  Message rest_;
  std::size_t rest_at_ = 0;

  // Who receives has these.
  SpscConsumer in_;
  bool is_gone_ = false;
  SpinBudget spin_;
};

}  // namespace penstock
