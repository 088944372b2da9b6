// SPDX-License-Identifier: Apache-2.0
// The side of those that did not create the channel.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <iterator>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include "gathering.hpp"
#include "penstock/sharing.hpp"
#include "penstock/thread.hpp"

namespace penstock::sharing {

namespace {

constexpr std::int64_t kMillisecond_ns = 1'000'000;
/// Between looks at whether somebody who is alive still takes a message.
constexpr int kRetry_ms = 5;

// Being let in
// ------------------------------------------------------------------------------------------------

/// Root may go wherever it was told to.
bool may_use(uid_t creator) noexcept { return geteuid() == 0 || is_trusted(creator); }

/// Waits for `events` of a socket. Throws.
void wait_for(int socket, short events, const Patience& patience) {
  for (;;) {
    std::int64_t const left = patience.deadline_ns - now_ns();
    if (left <= 0) fail(ETIMEDOUT, "the creator of the channel does not answer");
    pollfd look{socket, events, 0};
    const int milliseconds =
        static_cast<int>(std::min<std::int64_t>(left / kMillisecond_ns + 1, 1'000'000));
    const int found = poll(&look, 1, milliseconds);
    if (found > 0) return;
    if (found < 0 && errno != EINTR) fail(errno, "poll");
    if (found < 0 && patience.is_interrupted && patience.is_interrupted()) {
      fail(EINTR, "interrupted");
    }
  }
}

Descriptor reach(const std::string& address, const Patience& patience) {
  const SocketAddress name(address);
  Descriptor socket = new_socket();
  // EAGAIN: others wait there to be accepted; that no event tells when they have been.
  while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(name.bytes), name.size) != 0) {
    if (errno != EAGAIN && errno != EINTR) fail(errno, address);
    if (patience.deadline_ns <= now_ns()) fail(ETIMEDOUT, address);
    (void)poll(nullptr, 0, kRetry_ms);
    if (patience.is_interrupted && patience.is_interrupted()) fail(EINTR, "interrupted");
  }
  return socket;
}

void say(int socket, Kind kind) {
  Note note;
  note.kind = kind;
  if (const int error = send_note(socket, note); error != 0) {
    // What it said before it went may be why.
    if (error != EPIPE && error != ECONNRESET) fail(error, "an invitation");
  }
}

/// What the creator says next, which is `kind`.
ReceivedNote hear(int socket, Kind kind, const Patience& patience) {
  ReceivedNote said;
  int error = EAGAIN;
  while (error == EAGAIN) {
    wait_for(socket, POLLIN, patience);
    error = receive_note(socket, &said);
  }
  if (error != 0) fail(error, "the creator of the channel");
  if (!may_use(said.uid)) fail(EPERM, "the channel is another user's");
  if (said.note.kind == Kind::refused) fail(static_cast<int>(said.note.detail), "refused");
  if (said.note.kind != kind) fail(EPROTO, "the creator of the channel");
  return said;
}

void check(const SharedShape& shape, unsigned number) {
  constexpr std::uint64_t kMostCapacity = 4 * SharedQueue::kMostSize;
  const bool is_good = std::has_single_bit(shape.capacity) && shape.capacity <= kMostCapacity &&
                       shape.max_size != 0 && shape.max_size < shape.capacity &&
                       shape.content <= static_cast<std::uint32_t>(Channel::Content::bytes) &&
                       number > 1 && number < Domain::kMost;
  if (!is_good) fail(EPROTO, "a shared channel");
}

// Being there
// ------------------------------------------------------------------------------------------------

/// A guest for as long as it uses the memory, and a thread that watches the creator. When it is
/// dead, the channel is closed, and it watches everybody else.
///
/// Threads: any.
class Stay {
 public:
  Stay(Descriptor socket, Descriptor creator)
      : socket_(std::move(socket)),
        creator_(std::move(creator)),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (wake_.get() < 0) fail(errno, "eventfd");
  }
  /// Nothing here touches the memory any more.
  ~Stay() {
    if (born_ != Forks::count()) return;
    Note note;
    note.kind = Kind::bye;
    (void)send_note(socket_.get(), note);
  }
  Stay(const Stay&) = delete;
  Stay& operator=(const Stay&) = delete;

  [[nodiscard]] bool is_creator_dead() const noexcept { return has_ended(creator_); }

  void begin(Channel& channel) noexcept { channel_ = &channel; }
  void channel_gone() noexcept {
    {
      const std::lock_guard lock(mutex_);
      channel_ = nullptr;
    }
    std::uint64_t const one = 1;
    (void)!write(wake_.get(), &one, sizeof one);
  }

  void watch(Domain& domain) {
    pollfd looks[] = {{wake_.get(), POLLIN, 0}, {creator_.get(), POLLIN, 0}};
    while (looks[1].revents == 0) {
      if (poll(looks, 2, -1) < 0) continue;
      if (looks[0].revents != 0) return;
    }
    if (const Ref<Channel> channel = this->channel()) channel->close();
    survive(domain);
  }

 private:
  /// Another process that used the channel when its creator died.
  struct Other {
    unsigned number;
    pid_t pid;           // 0: it is dead.
    Descriptor process;  // Once it could be opened.
  };

  /// Whether that is proved. `*is_told` becomes false if it cannot be told now.
  static bool is_dead(Other& other, bool* is_told) noexcept {
    if (other.pid == 0) return true;
    if (other.process.get() < 0) other.process = open_process(other.pid);
    if (other.process.get() >= 0) return has_ended(other.process);
    const bool is_gone = errno == ESRCH;
    *is_told = *is_told && is_gone;
    return is_gone;
  }

  Ref<Channel> channel() noexcept {
    const std::lock_guard lock(mutex_);
    const bool is_there = channel_ != nullptr && channel_->try_retain();
    return is_there ? Ref<Channel>::steal(channel_) : Ref<Channel>();
  }

  /// What the dead have begun is undone by whoever is left; it does no harm to do it twice. Numbers
  /// are given to nobody any more.
  void survive(const Domain& domain) {
    std::vector<Other> others;
    for (unsigned number = 0; number < Domain::kMost; ++number) {
      // The creator and its channel, and whoever else there was.
      const bool is_creator = number <= 1;
      if (number == domain.number() || (!is_creator && domain.pid(number) <= 0)) continue;
      others.push_back({number, is_creator ? 0 : domain.pid(number), {}});
    }
    for (;;) {
      bool is_undone = true;
      for (auto other = others.begin(); other != others.end();) {
        const bool is_ended = is_dead(*other, &is_undone);
        const Ref<Channel> channel = is_ended ? this->channel() : Ref<Channel>();
        const bool is_done = is_ended && (!channel || channel->recover(other->number));
        is_undone = is_undone && (is_done || !is_ended);
        other = is_done ? others.erase(other) : std::next(other);
      }
      std::vector<pollfd> looks{{wake_.get(), POLLIN, 0}};
      for (const Other& other : others) {
        if (other.process.get() >= 0 && is_undone)
          looks.push_back({other.process.get(), POLLIN, 0});
      }
      if (poll(looks.data(), looks.size(), is_undone ? -1 : kRetry_ms) > 0 &&
          looks[0].revents != 0) {
        return;
      }
    }
  }

  const std::uint32_t born_ = Forks::count();
  const Descriptor socket_;
  const Descriptor creator_;  // A pidfd.
  const Descriptor wake_;
  std::mutex mutex_;  // Guards what follows.
  Channel* channel_ = nullptr;
};

struct Watching {
  std::shared_ptr<Stay> stay;
  Ref<Domain> domain;
};

void start_watching(std::shared_ptr<Stay> stay, Ref<Domain> domain) {
  auto watching = std::make_unique<Watching>(Watching{std::move(stay), std::move(domain)});
  const auto body = [](void* of) -> void* {
    name_this_thread("penstock guest");
    const std::unique_ptr<Watching> self(static_cast<Watching*>(of));
    for (;;) {
      try {
        self->stay->watch(*self->domain);
        return nullptr;
      } catch (const std::bad_alloc&) {
        (void)poll(nullptr, 0, kRetry_ms);
      }
    }
  };
  if (!start_thread(body, watching.get())) fail(EAGAIN, "a thread");
  (void)watching.release();
}

Ref<Channel> enter(ReceivedNote welcome, std::shared_ptr<Stay> stay) {
  const SharedShape shape = welcome.note.shape();
  const unsigned number = welcome.note.detail;
  check(shape, number);
  OwnDomain domain(Domain::join(welcome.bells.take(), number, stay));
  auto memory = SharedQueue::map(welcome.channel.take(), shape);
  const auto on_gone = [stay, bells = domain.ref](const Channel&) {
    stay->channel_gone();
    bells->leave();
  };
  Ref<Channel> channel =
      SharedQueue::attach(domain.ref, plain_porter(), std::move(memory), shape, on_gone);
  const Ref<Domain> bells = std::exchange(domain.ref, {});
  stay->begin(*channel);
  start_watching(std::move(stay), bells);
  return channel;
}

}  // namespace

Ref<Channel> connect(Descriptor socket, const Patience& patience) {
  if (const int error = ask_for_credentials(socket.get()); error != 0) fail(error, "a socket");
  say(socket.get(), Kind::hello);
  const ReceivedNote hello = hear(socket.get(), Kind::hello, patience);
  Descriptor creator = open_process(hello.pid);
  if (creator.get() < 0) fail(ESRCH, "the creator of the channel");
  const int heard = socket.get();
  // From here on it may let us in: whoever gives up says so, or would count as there.
  auto stay = std::make_shared<Stay>(std::move(socket), std::move(creator));
  say(heard, Kind::here);
  ReceivedNote welcome = hear(heard, Kind::welcome, patience);
  // Who speaks has had that pid since before we opened it.
  if (welcome.pid != hello.pid || stay->is_creator_dead()) {
    fail(ECONNRESET, "the creator of the channel");
  }
  if (welcome.bells.get() < 0 || welcome.channel.get() < 0) fail(EMFILE, "a shared channel");
  return enter(std::move(welcome), std::move(stay));
}

Ref<Channel> connect(const std::string& address, const Patience& patience) {
  return connect(reach(address, patience), patience);
}

Ref<Channel> create(const std::string& address, std::uint64_t max_size, Channel::Content content) {
  return Gathering::begin(address, max_size, content);
}

Descriptor invite(const Channel& channel) {
  const auto gathering = Gathering::of(channel);
  if (!gathering) fail(EINVAL, "this process did not create that channel");
  return gathering->invite();
}

void remove_names() noexcept { Gathering::remove_names(); }

}  // namespace penstock::sharing
