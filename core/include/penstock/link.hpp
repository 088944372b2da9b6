// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/doorbell.hpp"
#include "penstock/message.hpp"
#include "penstock/one_at_a_time.hpp"
#include "penstock/queue.hpp"
#include "penstock/ref.hpp"
#include "penstock/segment.hpp"
#include "penstock/spsc_ring.hpp"
#include "penstock/status.hpp"

namespace penstock {

/// One end of the connection between the VM and a worker process: two rings in one sealed memfd,
/// and a stream socket, which is the bell of whoever sleeps and whose end is the other one's.
///
///   send ──► queue ──► ring in shared memory ──► receive, or a Look
///            any thread    one at a time             one at a time
///
/// A frame is a Message that owns no objects (portable.hpp). One that is longer than a piece
/// crosses in several. A sender puts it into the ring, or, while somebody else does so or the ring
/// is full, into the queue: then it goes when the other end has made room, and whoever receives
/// here moves it on. So no sender ever waits.
///
/// One thread, the listener, calls receive() again and again: it sleeps on the socket, and is the
/// only one that learns that the other end is gone. Any other may take frames in between with a
/// Look, so that who waits for one need not be woken by the listener. Whoever takes a frame also
/// deals with it before the next is taken.
///
/// Where others look, the listener that was woken beside them does not sleep at once, but naps:
/// then the other end rings no bell for a while.
///
/// The other end is not trusted: each of its words is read once and checked, nothing outside the
/// memory is touched, and no call takes longer than the ring and the frame are long.
///
/// Threads: send(), wake() and hang_up() any; receive() one at a time; Look any.
/// Cost: send without a system call while the other end is awake; receive sleeps in poll().
/// Units: kCapacity bytes in each direction; frames of at most Message::kMaxBytes.
///
/// Edges: those of SpscRing, Queue, OneAtATime, Doorbell and ReceiverRole;
///   S1  the sending side of the ring, and the rest of a frame that found no room;
///   S2  also for room: a sender writes wants_room, fence, and looks for room once more; the other
///       end makes room, fence, and reads wants_room.
class Link final : public Object {
 public:
  enum class Side : std::uint8_t { vm, worker };
  static constexpr std::uint64_t kCapacity = std::uint64_t{1} << 20;
  static constexpr std::int64_t kBrief_ns = 1'000'000;

  /// How large the segment is.
  [[nodiscard]] static std::size_t bytes() noexcept;
  /// Takes over the segment, which is new on the VM's side, and the socket. `process`: readable
  /// when the other end's process is gone, whoever else may hold its socket; or -1. Throws
  /// bad_alloc or system_error; and bad_alloc if the other end did not make the segment.
  [[nodiscard]] static Ref<Link> create(Segment segment, int socket, Side side, int process = -1);

  /// ok, and `frame` is empty; closed or out_of_memory.
  [[nodiscard]] Status send(Message& frame) noexcept;

  /// The next frame, into `frame`, which is empty or what the last call left there: ok, and nobody
  /// else takes one before the next call; empty: wake() was called, or `deadline_ns`
  /// (CLOCK_MONOTONIC) passed; closed: the other end is gone, and all that it sent was received;
  /// corrupt: it breaks the rules; out_of_memory.
  [[nodiscard]] Status receive(Message& frame, std::int64_t deadline_ns) noexcept;
  /// Instead of the next receive(): nobody receives any more, and what is still there is dropped.
  void stop_receiving() noexcept { lock_role(); }
  /// Makes receive() return, now or the next time that it would sleep.
  void wake() noexcept;
  /// Whether all that was sent has left for the ring. A hint.
  [[nodiscard]] bool is_idle() const noexcept {
    return senders_.is_idle() && is_stuck_.load(order::relaxed) == 0;
  }
  /// What lies in the rings, in bytes, and whether more waits here for room. Hints, for any thread.
  struct Fill {
    std::uint64_t to_other;
    std::uint64_t from_other;
    bool has_more;
  };
  [[nodiscard]] Fill fill() const noexcept { return {out_.used(), in_.used(), !is_idle()}; }
  /// Where things lie in the segment, for who looks at it from outside. By Side: whose words they
  /// are, and where the ring to it begins.
  struct Layout {
    std::size_t asleep[2];
    std::size_t wants_room[2];
    std::size_t ring_to[2];
  };
  [[nodiscard]] static Layout layout() noexcept;
  /// The other end learns that this one is gone. What is sent from now on is dropped.
  void hang_up() noexcept;

  /// Takes frames beside the listener, for a scope. While it lasts nobody else does.
  ///
  /// Threads: the one that made it.
  class Look {
   public:
    explicit Look(Link& link) noexcept;
    ~Look() { end(); }
    Look(const Look&) = delete;
    Look& operator=(const Look&) = delete;

    /// False: somebody else receives, or only the listener may go on.
    [[nodiscard]] explicit operator bool() const noexcept { return has_role_; }
    /// ok, and `frame`, which is empty, is one of at most `most` bytes; empty; corrupt;
    /// out_of_memory. A longer one is left to the listener, and the look is over: empty.
    [[nodiscard]] Status take(Message& frame, std::size_t most) noexcept;
    /// Whether take() would find something. Cheap.
    [[nodiscard]] bool is_something_there() noexcept { return link_.is_worth_a_look(); }
    /// The listener receives again. What is there it is told of.
    void end() noexcept;
    /// As end(), by a thread that will look again soon. While it does so again and again the
    /// listener only sees to it that nothing waits for longer than kBrief_ns.
    void end_briefly() noexcept;
    /// The other end breaks the rules: receive() says so.
    void give_up() noexcept;

    /// Two steps of sleeping until a frame comes, or rouse_looker() is called. After the first,
    /// true, the caller looks at what else it waits for; the second returns when there may be
    /// something, or for no reason, and then the look goes on. Meanwhile others may receive. Only
    /// on the worker's side, where one thread does so.
    [[nodiscard]] bool lie_down() noexcept;
    void park() noexcept;

   private:
    void end(bool is_brief) noexcept;
    void leave_to_listener() noexcept;
    Link& link_;
    bool has_role_;
    bool has_taken_ = false;
  };
  /// Ends a look that sleeps, or is about to.
  void rouse_looker() noexcept;

 private:
  enum class Heard : std::uint8_t { nothing, bell, wake };
  struct End;
  struct Header;
  Link(Segment segment, int socket, int event, int process, Side side) noexcept;
  ~Link() override;

  void pump() noexcept;
  void empty_queue() noexcept;
  [[nodiscard]] bool put_at_once(Message& frame) noexcept;
  [[nodiscard]] bool put_rest() noexcept;
  [[nodiscard]] Status put_piece(std::span<const std::uint8_t> bytes, std::size_t* at) noexcept;
  [[nodiscard]] Status take(Message& frame) noexcept;
  [[nodiscard]] Status take_piece(Message& frame, bool* is_last) noexcept;
  void tell_of_room() noexcept;
  [[nodiscard]] bool is_worth_a_look() noexcept;
  void lock_role() noexcept;
  [[nodiscard]] Status sleep(std::int64_t deadline_ns) noexcept;
  [[nodiscard]] bool is_only_watching() noexcept;
  [[nodiscard]] bool has_sleeper() const noexcept;
  [[nodiscard]] std::int64_t nap_ns() noexcept;
  [[nodiscard]] Heard hear(std::int64_t deadline_ns) noexcept;
  void ring_bell() noexcept;
  [[nodiscard]] End& mine() const noexcept;
  [[nodiscard]] End& theirs() const noexcept;

  const Segment segment_;
  const int socket_;
  const int event_;    // wake()'s.
  const int process_;  // Not ours.
  const Side side_;

  Queue queue_;
  OneAtATime senders_;
  Atomic<std::uint32_t> is_stuck_{0};  // The ring was full.
  Atomic<std::uint32_t> is_corrupt_{0};
  Atomic<std::uint32_t> is_closed_{0};
  // Who empties the queue has these (S1).
  SpscProducer out_;
  Message rest_;
  std::size_t rest_at_ = 0;

  ReceiverRole role_;
  // Who receives has these (S3).
  SpscConsumer in_;
  bool is_inside_ = false;       // Of a frame in several pieces.
  bool is_left_ = false;         // What is next is for the listener.
  bool is_napping_ = false;      // The listener comes back by itself.
  std::uint32_t looked_up_ = 0;  // Frames that were taken by a Look.
  std::uint32_t briefly_ = 0;    // Looks that ended so.

  // The listener's.
  bool has_role_ = false;
  bool is_gone_ = false;
  bool has_heard_ = true;    // It was not a nap's end that woke it.
  std::uint32_t taken_ = 0;  // Since it last slept.
  std::uint32_t looked_up_then_ = 0;
  std::uint32_t briefly_then_ = 0;
};

}  // namespace penstock
