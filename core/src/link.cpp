// SPDX-License-Identifier: Apache-2.0
#include "penstock/link.hpp"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <iterator>
#include <new>
#include <system_error>
#include <utility>

namespace penstock {

/// Where one end says who sleeps there, and that it waits for room.
struct Link::End {
  Doorbell bell;
  alignas(kSharedLine) Atomic<std::uint32_t> wants_room;
};

/// The segment begins with it; then come the rings, to the worker first.
struct Link::Header {
  End ends[2];
};

namespace {

/// A piece begins with whether others follow, padded so that what comes next is aligned.
constexpr std::size_t kPieceHead = 8;
constexpr std::uint64_t kLast = 1, kFollowed = 0;
/// Two of them fit into a ring, so that one is read while the next is written.
constexpr std::size_t kPiece = 256 * 1024;

/// What comes meanwhile waits for as long, if nobody looks.
constexpr std::int64_t kNap_ns = 50'000;
/// Frames in that time that make a burst.
constexpr std::uint32_t kBurst = 4;

constexpr std::int64_t kNanosPerSecond = 1'000'000'000;

}  // namespace

std::size_t Link::bytes() noexcept { return sizeof(Header) + 2 * SpscRing::bytes_for(kCapacity); }

Link::Layout Link::layout() noexcept {
  std::size_t const rings = sizeof(Header);
  return {{0, sizeof(End)},
          {offsetof(End, wants_room), sizeof(End) + offsetof(End, wants_room)},
          {rings + SpscRing::bytes_for(kCapacity), rings}};
}

namespace {

std::span<std::uint8_t> ring_of(const Segment& segment, std::size_t header, bool is_to_worker) {
  std::size_t const bytes = SpscRing::bytes_for(Link::kCapacity);
  return segment.memory().subspan(header + (is_to_worker ? 0 : bytes), bytes);
}

}  // namespace

Ref<Link> Link::create(Segment segment, int socket, Side side, int process) {
  struct Descriptors {
    int socket, event;
    ~Descriptors() {
      if (socket >= 0) ::close(socket);
      if (event >= 0) ::close(event);
    }
  } owned{socket, -1};
  for (const bool is_to_worker : {true, false}) {
    const std::span<std::uint8_t> ring = ring_of(segment, sizeof(Header), is_to_worker);
    if (side == Side::vm) SpscRing::format(ring, kCapacity);
    if (!SpscRing::attach(ring, kCapacity)) throw std::bad_alloc();
  }
  owned.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (owned.event < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  auto link =
      Ref<Link>::steal(new Link(std::move(segment), owned.socket, owned.event, process, side));
  owned = {-1, -1};
  if (link->queue_.init() != Status::ok) throw std::bad_alloc();
  return link;
}

Link::Link(Segment segment, int socket, int event, int process, Side side) noexcept
    : segment_(std::move(segment)),
      socket_(socket),
      event_(event),
      process_(process),
      side_(side),
      out_(ring_of(segment_, sizeof(Header), side == Side::vm), kCapacity),
      in_(ring_of(segment_, sizeof(Header), side == Side::worker), kCapacity) {}

Link::~Link() {
  ::close(socket_);
  ::close(event_);
}

Link::End& Link::mine() const noexcept {
  return reinterpret_cast<Header*>(segment_.memory().data())->ends[side_ == Side::vm ? 0 : 1];
}

Link::End& Link::theirs() const noexcept {
  return reinterpret_cast<Header*>(segment_.memory().data())->ends[side_ == Side::vm ? 1 : 0];
}

// Sending
// ------------------------------------------------------------------------------------------------

Status Link::send(Message& frame) noexcept {
  if (is_closed_.load(order::relaxed) != 0) return Status::closed;
  bool is_put = false;
  const bool was_first =
      senders_.try_run([&] { is_put = put_at_once(frame); }, [this] { empty_queue(); });
  if (was_first && is_put) return Status::ok;
  const Status status = queue_.push(frame);
  if (status == Status::ok) pump();
  return status;
}

void Link::pump() noexcept {
  senders_.run([this] { empty_queue(); });
}

/// Past the queue, if nothing is there: what was sent before went before. False: nothing was done.
bool Link::put_at_once(Message& frame) noexcept {
  if (rest_.size() != 0 || frame.size() > kPiece || !queue_.is_empty()) return false;
  std::size_t at = 0;
  if (put_piece(frame.bytes(), &at) != Status::ok) return false;
  ring_bell();
  frame.clear();
  return true;
}

void Link::empty_queue() noexcept {
  bool has_sent = false;
  for (;;) {
    if (rest_.size() == 0) {
      const Status status = queue_.pop(rest_);
      if (status == Status::out_of_memory) {
        is_stuck_.store(1, order::relaxed);
        wake();  // Whoever receives tries again.
      }
      if (status != Status::ok) break;
    }
    if (!put_rest()) break;
    has_sent = true;
  }
  if (has_sent) ring_bell();
}

/// False: the ring is full, and whoever receives here is told when it is not.
bool Link::put_rest() noexcept {
  while (rest_at_ < rest_.size()) {
    Status status = put_piece(rest_.bytes(), &rest_at_);
    if (status == Status::full) {
      ring_bell();  // It may sleep on what has been put there.
      is_stuck_.store(1, order::relaxed);
      mine().wants_room.store(1, order::relaxed);
      full_fence(mine().wants_room, "S2");
      status = put_piece(rest_.bytes(), &rest_at_);
    }
    if (status == Status::full) return false;
    is_stuck_.store(0, order::relaxed);
    if (status != Status::ok) {
      is_corrupt_.store(1, order::relaxed);
      wake();
      return false;
    }
  }
  rest_.clear();
  rest_at_ = 0;
  return true;
}

/// Of `bytes`, from `*at` on, which moves on.
Status Link::put_piece(std::span<const std::uint8_t> bytes, std::size_t* at) noexcept {
  std::size_t const count = std::min(bytes.size() - *at, kPiece);
  std::uint8_t* room = nullptr;
  if (const Status status = out_.try_claim(kPieceHead + count, &room); status != Status::ok) {
    return status;
  }
  std::uint64_t const head = *at + count == bytes.size() ? kLast : kFollowed;
  copy_in(room, &head, sizeof head);
  copy_in(room + kPieceHead, bytes.data() + *at, count);
  out_.commit();
  out_.publish();
  *at += count;
  return Status::ok;
}

void Link::ring_bell() noexcept {
  Doorbell& bell = theirs().bell;
  std::uint32_t const who = bell.rouse();
  if (who == Doorbell::nobody) return;
  fail_point("link.bell.before");
  if (who == Doorbell::looker) return bell.wake_looker();
  // Full: then something is there to be heard. Gone: it needs no bell.
  while (::send(socket_, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
         (errno == EINTR || errno == ENOBUFS || errno == ENOMEM)) {
    sched_yield();
  }
}

void Link::wake() noexcept {
  std::uint64_t const one = 1;
  (void)!::write(event_, &one, sizeof one);
}

void Link::hang_up() noexcept {
  is_closed_.store(1, order::relaxed);
  (void)::shutdown(socket_, SHUT_RDWR);
}

// Receiving
// ------------------------------------------------------------------------------------------------

Status Link::receive(Message& frame, std::int64_t deadline_ns) noexcept {
  for (;;) {
    lock_role();
    if (is_corrupt_.load(order::relaxed) != 0) return Status::corrupt;
    if (!is_only_watching()) {
      if (const Status status = take(frame); status != Status::empty) {
        ++taken_;
        return status;
      }
      is_inside_ = frame.size() != 0;
      if (is_stuck_.load(order::relaxed) != 0) pump();
      if (is_gone_) return Status::closed;
    }
    if (const Status status = sleep(deadline_ns); status != Status::ok) return status;
  }
}

void Link::lock_role() noexcept {
  if (has_role_) return;
  role_.lock();
  has_role_ = true;
  is_napping_ = false;
}

/// After a nap, if somebody has looked meanwhile, and will again.
bool Link::is_only_watching() noexcept {
  if (std::exchange(has_heard_, true) || is_left_ || is_gone_) return false;
  return briefly_ != briefly_then_;
}

/// ok, empty, corrupt or out_of_memory.
Status Link::take(Message& frame) noexcept {
  for (bool is_last = false; !is_last;) {
    if (const Status status = take_piece(frame, &is_last); status != Status::ok) return status;
  }
  return Status::ok;
}

Status Link::take_piece(Message& frame, bool* is_last) noexcept {
  std::span<const std::uint8_t> record;
  const Status status = in_.peek(&record);
  if (status != Status::ok) {
    if (status == Status::empty) tell_of_room();  // peek() has given all of it back.
    return status == Status::closed ? Status::corrupt : status;
  }
  if (record.size() <= kPieceHead) return Status::corrupt;
  std::uint64_t head = 0;
  copy_out(&head, record.data(), sizeof head);
  std::size_t const count = record.size() - kPieceHead;
  if (head > kLast || count > Message::kMaxBytes - frame.size()) return Status::corrupt;
  std::uint8_t* const room = frame.extend(count);
  if (room == nullptr) return Status::out_of_memory;
  copy_out(room, record.data() + kPieceHead, count);
  in_.consume();
  tell_of_room();
  *is_last = head == kLast;
  return Status::ok;
}

/// consume() and peek() fence after they gave room back.
void Link::tell_of_room() noexcept {
  Atomic<std::uint32_t>& wants_room = theirs().wants_room;
  if (wants_room.load(order::relaxed) != 0 && wants_room.exchange(0, order::relaxed) != 0) {
    in_.release();
    ring_bell();
  }
}

/// Whether whoever receives has something to do.
bool Link::is_worth_a_look() noexcept {
  std::span<const std::uint8_t> record;
  if (in_.peek(&record) != Status::empty) return true;
  return is_stuck_.load(order::relaxed) != 0 && mine().wants_room.load(order::relaxed) == 0;
}

/// ok: look again; else what receive() is to return.
Status Link::sleep(std::int64_t deadline_ns) noexcept {
  std::int64_t const nap = nap_ns();
  is_left_ = false;
  taken_ = 0;
  looked_up_then_ = looked_up_;
  briefly_then_ = briefly_;
  Doorbell& bell = mine().bell;
  if (nap != 0) {
    is_napping_ = true;
    if (!has_sleeper()) bell.stay_up();
  } else if (!has_sleeper()) {
    bell.lie_down(Doorbell::listener);
    if (is_worth_a_look()) {
      bell.stay_up();
      return Status::ok;
    }
  }
  has_role_ = false;
  role_.unlock();
  std::int64_t const until = nap == 0 ? deadline_ns : std::min(now_ns() + nap, deadline_ns);
  const Heard heard = hear(until);
  has_heard_ = heard != Heard::nothing;
  if (heard == Heard::wake) return Status::empty;
  return heard == Heard::nothing && now_ns() >= deadline_ns ? Status::empty : Status::ok;
}

/// Nobody in the VM sleeps like that, whatever the other end may have written.
bool Link::has_sleeper() const noexcept {
  return side_ == Side::worker && mine().bell.asleep() == Doorbell::looker;
}

/// How long it may do without a bell; 0: it may not.
std::int64_t Link::nap_ns() noexcept {
  if (side_ == Side::worker) return briefly_ != briefly_then_ ? kBrief_ns : 0;
  return taken_ != 0 && taken_ + (looked_up_ - looked_up_then_) >= kBurst ? kNap_ns : 0;
}

Link::Heard Link::hear(std::int64_t deadline_ns) noexcept {
  // Of a process that is not watched poll() says nothing.
  pollfd fds[] = {{socket_, POLLIN, 0}, {event_, POLLIN, 0}, {process_, POLLIN, 0}};
  timespec left{};
  if (deadline_ns != kNoDeadline) {
    std::int64_t const left_ns = std::max<std::int64_t>(0, deadline_ns - now_ns());
    left = {left_ns / kNanosPerSecond, left_ns % kNanosPerSecond};
  }
  const int found =
      ::ppoll(fds, std::size(fds), deadline_ns == kNoDeadline ? nullptr : &left, nullptr);
  if (found < 0) return Heard::bell;  // A signal: look again.
  if (found == 0) return Heard::nothing;
  if (fds[0].revents != 0) {
    char bells[64];
    const ssize_t count = ::recv(socket_, bells, sizeof bells, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) is_gone_ = true;
  }
  if (fds[2].revents != 0) is_gone_ = true;
  std::uint64_t events = 0;
  const bool is_woken = fds[1].revents != 0 && ::read(event_, &events, sizeof events) > 0;
  return is_woken ? Heard::wake : Heard::bell;
}

// Looking
// ------------------------------------------------------------------------------------------------

Link::Look::Look(Link& link) noexcept : link_(link), has_role_(link.role_.try_lock()) {
  if (!has_role_) return;
  if (link_.is_inside_ || link_.is_left_) {
    has_role_ = false;
    link_.role_.unlock();
    return;
  }
  link_.mine().bell.stay_up();
}

Status Link::Look::take(Message& frame, std::size_t most) noexcept {
  std::span<const std::uint8_t> record;
  Status status = link_.in_.peek(&record);
  if (status != Status::ok) {
    // What comes from now on may be long: it is looked at like all else, the next time.
    if (status != Status::empty) return Status::corrupt;
    link_.tell_of_room();  // peek() has given all of it back.
    if (link_.is_stuck_.load(order::relaxed) != 0) link_.pump();
    return status;
  }
  std::uint64_t head = kLast;
  if (record.size() > kPieceHead) copy_out(&head, record.data(), sizeof head);
  if (head != kLast || record.size() > most + kPieceHead) {
    leave_to_listener();
    return Status::empty;
  }
  bool is_last = false;
  status = link_.take_piece(frame, &is_last);
  if (status != Status::ok) return status;
  ++link_.looked_up_;
  has_taken_ = true;
  return is_last ? status : Status::corrupt;
}

void Link::Look::end() noexcept { end(false); }

void Link::Look::end_briefly() noexcept { end(true); }

void Link::Look::end(bool is_brief) noexcept {
  if (!std::exchange(has_role_, false)) return;
  bool is_left = false;
  // Who found something else to do may do so each time that it comes back.
  if (is_brief && !has_taken_ && link_.is_worth_a_look()) is_brief = false;
  if (is_brief) ++link_.briefly_;
  // In the VM a nap is short enough for anybody.
  const bool may_wait = is_brief || link_.side_ == Side::vm;
  if (!may_wait || !link_.is_napping_) {
    link_.mine().bell.lie_down(Doorbell::listener);
    is_left = link_.is_worth_a_look();
    if (is_left) link_.mine().bell.stay_up();
  }
  link_.role_.unlock();
  if (is_left) link_.wake();
}

void Link::Look::leave_to_listener() noexcept {
  has_role_ = false;
  link_.is_left_ = true;
  link_.mine().bell.stay_up();
  link_.role_.unlock();
  link_.wake();
}

void Link::Look::give_up() noexcept {
  link_.is_corrupt_.store(1, order::relaxed);
  leave_to_listener();
}

bool Link::Look::lie_down() noexcept {
  link_.mine().bell.lie_down(Doorbell::looker);
  if (!link_.is_worth_a_look()) return true;
  link_.mine().bell.stay_up();
  return false;
}

void Link::Look::park() noexcept {
  has_role_ = false;
  link_.role_.unlock();
  link_.mine().bell.park();
  // Whatever woke it, the other end may believe that it still sleeps: only who has the role can say
  // who is to be woken from now on.
  link_.role_.lock();
  has_role_ = true;
  if (link_.is_inside_ || link_.is_left_) return end();
  link_.mine().bell.stay_up();
}

void Link::rouse_looker() noexcept { mine().bell.rouse_here(); }

}  // namespace penstock
