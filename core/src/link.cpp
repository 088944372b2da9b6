// SPDX-License-Identifier: Apache-2.0
#include "penstock/link.hpp"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <new>
#include <system_error>
#include <utility>

namespace penstock {

/// Where one end says that it sleeps, and that it waits for room.
struct alignas(kSharedLine) Link::Sleep {
  Atomic<std::uint32_t> asleep;
  Atomic<std::uint32_t> wants_room;
};

/// The segment begins with it; then come the rings, to the worker first.
struct Link::Header {
  Sleep ends[2];
};

namespace {

/// A piece begins with whether others follow, padded so that what comes next is aligned.
constexpr std::size_t kPieceHead = 8;
constexpr std::uint64_t kLast = 1, kFollowed = 0;
/// Two of them fit into a ring, so that one is read while the next is written.
constexpr std::size_t kPiece = 256 * 1024;

/// In the VM the caller looks out already: both together keep the worker off a small machine.
constexpr std::uint32_t kSpin_ns = 50'000;

constexpr std::int64_t kNanosPerMilli = 1'000'000;

int millis_until(std::int64_t deadline_ns) noexcept {
  if (deadline_ns == kNoDeadline) return -1;
  std::int64_t const left = deadline_ns - now_ns();
  if (left <= 0) return 0;
  return static_cast<int>(std::min<std::int64_t>(left / kNanosPerMilli + 1, 1'000'000));
}

}  // namespace

std::size_t Link::bytes() noexcept { return sizeof(Header) + 2 * SpscRing::bytes_for(kCapacity); }

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
      in_(ring_of(segment_, sizeof(Header), side == Side::worker), kCapacity),
      spin_(side == Side::worker ? kSpin_ns : 0) {}

Link::~Link() {
  ::close(socket_);
  ::close(event_);
}

Link::Sleep& Link::mine() const noexcept {
  return reinterpret_cast<Header*>(segment_.memory().data())->ends[side_ == Side::vm ? 0 : 1];
}

Link::Sleep& Link::theirs() const noexcept {
  return reinterpret_cast<Header*>(segment_.memory().data())->ends[side_ == Side::vm ? 1 : 0];
}

// Sending
// ------------------------------------------------------------------------------------------------

Status Link::send(Message& frame) noexcept {
  if (is_closed_.load(order::relaxed) != 0) return Status::closed;
  const Status status = queue_.push(frame);
  if (status == Status::ok) pump();
  return status;
}

/// Empties the queue, or has whoever does so look once more.
void Link::pump() noexcept {
  if (senders_.fetch_add(1, order::acq_rel("S1")) != 0) return;
  for (std::uint32_t seen = 1;;) {
    empty_queue();
    std::uint32_t const before = senders_.fetch_sub(seen, order::acq_rel("S1"));
    if (before == seen) return;
    seen = before - seen;
  }
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
    Status status = put_piece();
    if (status == Status::full) {
      ring_bell();  // It may sleep on what has been put there.
      is_stuck_.store(1, order::relaxed);
      mine().wants_room.store(1, order::relaxed);
      full_fence(mine().wants_room, "S2");
      status = put_piece();
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

Status Link::put_piece() noexcept {
  std::size_t const count = std::min(rest_.size() - rest_at_, kPiece);
  std::uint8_t* room = nullptr;
  if (const Status status = out_.try_claim(kPieceHead + count, &room); status != Status::ok) {
    return status;
  }
  std::uint64_t const head = rest_at_ + count == rest_.size() ? kLast : kFollowed;
  copy_in(room, &head, sizeof head);
  copy_in(room + kPieceHead, rest_.bytes().data() + rest_at_, count);
  out_.commit();
  out_.publish();
  rest_at_ += count;
  return Status::ok;
}

void Link::ring_bell() noexcept {
  Atomic<std::uint32_t>& asleep = theirs().asleep;
  full_fence(asleep, "S2");
  if (asleep.load(order::relaxed) == 0 || asleep.exchange(0, order::relaxed) == 0) return;
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
    if (is_corrupt_.load(order::relaxed) != 0) return Status::corrupt;
    if (const Status status = take(frame); status != Status::empty) return status;
    if (is_stuck_.load(order::relaxed) != 0) pump();
    if (is_gone_) return Status::closed;
    std::int64_t const started = now_ns();
    std::span<const std::uint8_t> record;
    const auto is_there = [&] { return in_.peek(&record) != Status::empty; };
    if (spin_.spin(started, deadline_ns, is_there)) {
      spin_.learn(now_ns() - started);
      continue;
    }
    const Status status = sleep(deadline_ns);
    spin_.learn(now_ns() - started);
    if (status != Status::ok) return status;
  }
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

/// ok: look again; else what receive() is to return.
Status Link::sleep(std::int64_t deadline_ns) noexcept {
  Atomic<std::uint32_t>& asleep = mine().asleep;
  asleep.store(1, order::relaxed);
  full_fence(asleep, "S2");
  std::span<const std::uint8_t> record;
  Status status = Status::ok;
  const bool has_frame = in_.peek(&record) != Status::empty;
  const bool has_room =
      is_stuck_.load(order::relaxed) != 0 && mine().wants_room.load(order::relaxed) == 0;
  if (!has_frame && !has_room) status = hear(deadline_ns);
  asleep.store(0, order::relaxed);
  return status;
}

Status Link::hear(std::int64_t deadline_ns) noexcept {
  // Of a process that is not watched poll() says nothing.
  pollfd fds[] = {{socket_, POLLIN, 0}, {event_, POLLIN, 0}, {process_, POLLIN, 0}};
  const int found = ::poll(fds, std::size(fds), millis_until(deadline_ns));
  if (found < 0) return Status::ok;  // A signal.
  if (found == 0) return now_ns() < deadline_ns ? Status::ok : Status::empty;
  if (fds[0].revents != 0) {
    char bells[64];
    const ssize_t count = ::recv(socket_, bells, sizeof bells, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) is_gone_ = true;
  }
  if (fds[2].revents != 0) is_gone_ = true;
  std::uint64_t events = 0;
  const bool is_woken = fds[1].revents != 0 && ::read(event_, &events, sizeof events) > 0;
  return is_woken ? Status::empty : Status::ok;
}

}  // namespace penstock
