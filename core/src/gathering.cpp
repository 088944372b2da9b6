// SPDX-License-Identifier: Apache-2.0
#include "gathering.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <new>
#include <system_error>
#include <utility>

#include "penstock/portable.hpp"
#include "penstock/thread.hpp"

namespace penstock::sharing {

namespace {

constexpr std::int64_t kMillisecond_ns = 1'000'000;

int duplicate(int descriptor) {
  const int copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) fail(errno, "dup");
  return copy;
}

int milliseconds_until(std::int64_t deadline_ns, std::int64_t now) noexcept {
  if (deadline_ns == kNoDeadline) return -1;
  return static_cast<int>(std::max<std::int64_t>(0, deadline_ns - now) / kMillisecond_ns + 1);
}

}  // namespace

wire::Porter& plain_porter() noexcept {
  static wire::ValuePorter porter(0);
  return porter;
}

// Those of this process
// ------------------------------------------------------------------------------------------------

/// By their creators' channels.
class Gathering::Registry {
 public:
  static Registry& instance() {
    // Never destroyed: threads still run at the process's end.
    static auto* const registry = new Registry;
    return *registry;
  }

  void add(const Channel& channel, std::shared_ptr<Gathering> gathering) {
    const std::lock_guard lock(mutex_);
    all_.emplace(&channel, std::move(gathering));
  }
  void remove(const Channel& channel) noexcept {
    const std::lock_guard lock(mutex_);
    all_.erase(&channel);
  }
  std::shared_ptr<Gathering> of(const Channel& channel) noexcept {
    const std::lock_guard lock(mutex_);
    const auto found = all_.find(&channel);
    return found == all_.end() ? nullptr : found->second.lock();
  }
  void remove_names() noexcept {
    const std::lock_guard lock(mutex_);
    for (const auto& [channel, gathering] : all_) {
      if (const auto alive = gathering.lock()) {
        const std::lock_guard its_own(alive->mutex_);
        alive->listener_.remove_name();
      }
    }
  }
  /// With the lock that a fork waits for.
  void close(Listener& listener) noexcept {
    const std::lock_guard lock(mutex_);
    listener.close();
  }

 private:
  /// A child would keep the address, where nobody answers.
  Registry() {
    const int error =
        pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                       [] {
                         instance().leave_in_child();
                         instance().mutex_.unlock();
                       });
    if (error != 0) throw std::bad_alloc();
  }
  void leave_in_child() noexcept {
    for (const auto& [channel, gathering] : all_) {
      const auto inherited = gathering.lock();
      if (inherited && inherited->listener_.socket() >= 0) ::close(inherited->listener_.socket());
    }
    all_.clear();
  }

  std::mutex mutex_;  // Guards what follows.
  std::map<const Channel*, std::weak_ptr<Gathering>> all_;
};

std::shared_ptr<Gathering> Gathering::of(const Channel& channel) {
  return Registry::instance().of(channel);
}

void Gathering::remove_names() noexcept { Registry::instance().remove_names(); }

// Start and end
// ------------------------------------------------------------------------------------------------

Gathering::Gathering(const std::string& address, std::uint64_t max_size, Channel::Content content)
    : listener_(address),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      domain_(Domain::create()),
      keeper_(SharedQueue::create(domain_.ref, plain_porter(), max_size, content)) {
  if (wake_.get() < 0) fail(errno, "eventfd");
  members_.reserve(Domain::kMost);
  keeper_->add_sender();  // As long as the creator has its channel.
}

Ref<Channel> Gathering::begin(const std::string& address, std::uint64_t max_size,
                              Channel::Content content) {
  auto gathering = std::make_shared<Gathering>(address, max_size, content);
  const auto body = [](void* of) -> void* {
    name_this_thread("penstock share");
    const std::unique_ptr<std::shared_ptr<Gathering>> self(
        static_cast<std::shared_ptr<Gathering>*>(of));
    (*self)->run();
    return nullptr;
  };
  Ref<Channel> channel = gathering->own_channel();  // Its end is the thread's, too.
  auto its_own = std::make_unique<std::shared_ptr<Gathering>>(gathering);
  Registry::instance().add(*channel, gathering);
  if (!start_thread(body, its_own.get())) fail(EAGAIN, "a thread");
  (void)its_own.release();
  return channel;
}

Ref<Channel> Gathering::own_channel() {
  SharedQueue& queue = queue_of(*keeper_);
  const unsigned number = domain_.ref->admit().value();
  OwnDomain mine(Domain::join(duplicate(domain_.ref->descriptor()), number));
  domain_.ref->set_pid(0, getpid());
  domain_.ref->set_pid(number, getpid());
  const auto on_gone = [self = shared_from_this(), domain = mine.ref](const Channel& channel) {
    self->channel_gone(channel);
    domain->leave();
  };
  Ref<Channel> channel =
      SharedQueue::attach(mine.ref, plain_porter(), queue.memory(), queue.shape(), on_gone);
  mine.ref = {};
  return channel;
}

/// At once, since the process may end before the thread comes to it.
void Gathering::channel_gone(const Channel& channel) noexcept {
  Registry::instance().remove(channel);
  keeper_->close();
  const std::lock_guard lock(mutex_);
  is_ending_ = true;
  listener_.remove_name();
  wake();
}

void Gathering::wake() noexcept {
  std::uint64_t const one = 1;
  (void)!write(wake_.get(), &one, sizeof one);
}

Descriptor Gathering::invite() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    fail(errno, "socketpair");
  }
  Descriptor ours(ends[0]);
  Descriptor theirs(ends[1]);
  if (const int error = ask_for_credentials(ours.get()); error != 0) fail(error, "SO_PASSCRED");
  const std::lock_guard lock(mutex_);
  invited_.push_back(std::move(ours));
  wake();
  return theirs;
}

// The thread
// ------------------------------------------------------------------------------------------------

void Gathering::run() {
  for (;;) {
    try {
      take_news();
      if (has_closed_ && members_.empty()) return;
      look();
    } catch (const std::bad_alloc&) {
      (void)poll(nullptr, 0, static_cast<int>(kPause_ns / kMillisecond_ns));
    }
  }
}

void Gathering::take_news() {
  bool is_ending = false;
  {
    const std::lock_guard lock(mutex_);
    is_ending = is_ending_;
    for (Descriptor& socket : invited_) guests_.push_back({std::move(socket), kNoDeadline});
    invited_.clear();
  }
  if (is_ending && !has_closed_) end();
}

void Gathering::end() noexcept {
  has_closed_ = true;
  Registry::instance().close(listener_);
  guests_.clear();
  keeper_->remove_sender();
}

void Gathering::look() {
  std::int64_t const now = now_ns();
  const bool accepts = guests_.size() < kMostGuests && now >= accept_again_ns_;
  std::int64_t until = now < accept_again_ns_ ? accept_again_ns_ : kNoDeadline;
  std::size_t const guests = guests_.size();
  std::size_t const members = members_.size();
  std::vector<pollfd> polls;
  polls.reserve(2 + guests + 2 * members);
  polls.push_back({wake_.get(), POLLIN, 0});
  polls.push_back({accepts ? listener_.socket() : -1, POLLIN, 0});
  for (const Guest& guest : guests_) {
    polls.push_back({guest.socket.get(), POLLIN, 0});
    until = std::min(until, guest.deadline_ns);
  }
  for (const Member& member : members_) {
    polls.push_back({member.process.get(), POLLIN, 0});
    polls.push_back({member.socket.get(), POLLIN, 0});
  }
  if (poll(polls.data(), polls.size(), milliseconds_until(until, now)) < 0) return;
  std::uint64_t rings = 0;
  (void)!read(wake_.get(), &rings, sizeof rings);
  const pollfd* seen = polls.data() + 2;
  for (std::size_t i = 0; i < guests; ++i) {
    if ((seen++)->revents != 0) hear(guests_[i]);
  }
  for (std::size_t i = 0; i < members; ++i, seen += 2) {
    if (seen[1].revents != 0) hear(members_[i]);
    if (seen[0].revents != 0) lose(members_[i]);
  }
  forget_late_guests(now_ns());
  if (polls[1].revents != 0) accept_some();
}

void Gathering::forget_late_guests(std::int64_t now) noexcept {
  std::erase_if(guests_,
                [&](const Guest& guest) { return guest.is_done || guest.deadline_ns <= now; });
  std::erase_if(members_, [](const Member& member) { return member.is_done; });
}

void Gathering::accept_some() {
  while (guests_.size() < kMostGuests) {
    Descriptor socket(accept4(listener_.socket(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket.get() < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      // No descriptors, or no memory: not to be asked again at once.
      if (errno != EAGAIN) accept_again_ns_ = now_ns() + kPause_ns;
      return;
    }
    if (!is_peer_trusted(socket.get())) {
      refuse(socket, EPERM);
    } else if (ask_for_credentials(socket.get()) == 0) {
      guests_.push_back({std::move(socket), now_ns() + kPatience_ns});
    }
  }
}

// Who comes
// ------------------------------------------------------------------------------------------------

void Gathering::refuse(const Descriptor& socket, int error) noexcept {
  Note note;
  note.kind = Kind::refused;
  note.detail = static_cast<std::uint32_t>(error);
  (void)send_note(socket.get(), note);
}

void Gathering::hear(Guest& guest) noexcept {
  ReceivedNote said;
  int error = receive_note(guest.socket.get(), &said);
  if (error == EAGAIN) return;
  if (error == 0) error = answer(guest, said);
  if (error == 0) return;
  refuse(guest.socket, error);
  guest.is_done = true;
}

/// An errno: it is to go.
int Gathering::answer(Guest& guest, const ReceivedNote& said) noexcept {
  if (!is_trusted(said.uid)) return EPERM;
  if (said.note.kind == Kind::hello && guest.pid == 0) {
    guest.process = open_process(said.pid);
    if (guest.process.get() < 0) return ESRCH;
    guest.pid = said.pid;
    guest.deadline_ns = now_ns() + kPatience_ns;
    return send_note(guest.socket.get(), {});
  }
  if (said.note.kind != Kind::here || guest.pid == 0) return EPROTO;
  // Who speaks has had that pid since before we opened it.
  if (said.pid != guest.pid || has_ended(guest.process)) return ESRCH;
  return admit(guest);
}

int Gathering::admit(Guest& guest) noexcept {
  const auto number = domain_.ref->admit();
  if (!number) return ENOSPC;
  const SharedQueue& queue = queue_of(*keeper_);
  Note note;
  note.kind = Kind::welcome;
  note.detail = *number;
  note.set_shape(queue.shape());
  domain_.ref->set_pid(*number, guest.pid);
  const int descriptors[] = {domain_.ref->descriptor(), queue.descriptor()};
  if (const int error = send_note(guest.socket.get(), note, descriptors); error != 0) {
    domain_.ref->ended(*number);  // It never was.
    return error;
  }
  members_.push_back({std::move(guest.socket), std::move(guest.process), *number});  // Reserved.
  guest.is_done = true;
  return 0;
}

// Who is here
// ------------------------------------------------------------------------------------------------

/// One that closes the socket without a word may still use the memory.
void Gathering::hear(Member& member) noexcept {
  ReceivedNote said;
  const int error = receive_note(member.socket.get(), &said);
  if (error == EAGAIN) return;
  if (error == 0 && said.note.kind == Kind::bye) return lose(member);
  member.socket = {};
}

/// Its pid stays, until somebody else gets the number: should we die before what it had begun is
/// undone, the others must know whom to look at.
void Gathering::lose(Member& member) noexcept {
  if (!std::exchange(member.is_done, true)) domain_.ref->ended(member.number);
}

}  // namespace penstock::sharing
