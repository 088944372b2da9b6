// SPDX-License-Identifier: Apache-2.0
#include "process_context.hpp"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <exception>
#include <new>
#include <system_error>
#include <utility>

#include "inbox_relay.hpp"
#include "penstock/wire.hpp"
#include "vm_host.hpp"

namespace penstock::nif {

namespace {

/// Python starts in less than a tenth of that.
constexpr std::int64_t kStart_ns = 60'000'000'000;
/// How long a worker that was told to stop may take.
constexpr std::int64_t kPatience_ns = 1'500'000'000;

/// Closes what is still there at the end of a scope.
class Descriptor {
 public:
  explicit Descriptor(int number) noexcept : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const noexcept { return number_; }
  [[nodiscard]] int take() noexcept { return std::exchange(number_, -1); }

 private:
  int number_;
};

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

void send_descriptor(int socket, int descriptor) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
  if (sendmsg(socket, &message, MSG_NOSIGNAL) != 1) fail("sendmsg");
}

/// A detached thread with all signals blocked: those of the process are the VM's.
bool start_thread(void* (*body)(void*), void* argument) noexcept {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread{};
  const bool started = pthread_create(&thread, nullptr, body, argument) == 0;
  if (started) pthread_detach(thread);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

std::string text_of(const WorkerEnd& end) {
  return (end.by_signal ? "ended by signal " : "ended with status ") + std::to_string(end.number);
}

/// Empty when memory ran out.
void write_reason(Message& reason, const WorkerEnd& end, bool is_corrupt) noexcept {
  wire::Writer writer(reason);
  const bool ok =
      writer.tuple(2) && writer.atom("worker_down") &&
      (is_corrupt ? writer.atom("corrupt")
                  : writer.tuple(2) && writer.atom(end.by_signal ? "signal" : "exit_status") &&
                        writer.integer(end.number));
  if (!ok) reason.clear();
}

}  // namespace

// Start and end
// ------------------------------------------------------------------------------------------------

ProcessContext::ProcessContext(std::unique_ptr<WorkerProcess> process, Ref<Link> link,
                               std::uint64_t owner, OnExit on_exit) noexcept
    : process_(std::move(process)),
      link_(std::move(link)),
      owner_(owner),
      on_exit_(std::move(on_exit)) {}

ProcessContext::~ProcessContext() = default;

Ref<ProcessContext> ProcessContext::start(const WorkerCommand& command, std::uint64_t owner,
                                          OnExit on_exit, std::string* failure) {
  try {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
    Descriptor ours(ends[0]);
    const Descriptor theirs(ends[1]);
    Segment segment = Segment::create_shared(Link::bytes());
    auto process = std::make_unique<WorkerProcess>(command, theirs.get());
    const int memory = segment.descriptor();
    const int socket = ours.get();
    const int watched = process->descriptor();
    Ref<Link> link = Link::create(std::move(segment), ours.take(), Link::Side::vm, watched);
    send_descriptor(socket, memory);  // The link has both, and the rings are ready.
    auto context = Ref<ProcessContext>::steal(
        new ProcessContext(std::move(process), std::move(link), owner, std::move(on_exit)));
    if (!context->greet(failure)) return {};
    const auto body = [](void* of) -> void* {
      (void)pthread_setname_np(pthread_self(), "penstock worker");
      Ref<ProcessContext>::steal(static_cast<ProcessContext*>(of))->run();
      return nullptr;
    };
    context->retain();  // The thread's own.
    if (start_thread(body, context.get())) return context;
    context->release();
    *failure = "no thread could be started";
  } catch (const std::exception& error) {
    *failure = error.what();
  }
  return {};
}

/// False: it does not run.
bool ProcessContext::greet(std::string* failure) {
  tell(FrameKind::setup, owner_);
  Message frame;
  std::int64_t const until = now_ns() + kStart_ns;
  const Status status = link_->receive(frame, until);
  FrameHead head{};
  std::span<const std::uint8_t> rest;
  if (status == Status::ok && read_frame(frame.bytes(), &head, &rest) &&
      head.kind == FrameKind::ready) {
    return true;
  }
  if (status != Status::closed) process_->kill();
  const WorkerEnd end = process_->wait();
  *failure = status == Status::empty ? "the worker process does not start"
                                     : "the worker process " + text_of(end);
  return false;
}

void ProcessContext::stop() noexcept {
  std::int64_t none = kNoDeadline;
  (void)kill_at_ns_.compare_exchange_strong(none, now_ns() + kPatience_ns, order::relaxed,
                                            order::relaxed);
  tell(FrameKind::stop);
  link_->wake();
}

void ProcessContext::run() noexcept {
  const Status status = serve();
  const bool was_asked = kill_at_ns_.load(order::relaxed) != kNoDeadline;
  link_->hang_up();
  process_->kill();
  const WorkerEnd how = process_->wait();
  Message reason;
  if (was_asked) {
    end(nullptr);
    if (!wire::Writer(reason).atom("stopped")) reason.clear();
  } else {
    write_reason(reason, how, status == Status::corrupt);
    end(&reason);
  }
  on_exit_(reason);
}

/// Nothing is in the worker's hands any more. nullptr: it was to stop, as a thread is.
void ProcessContext::end(const Message* reason) noexcept {
  std::vector<Place> places;
  std::unordered_map<std::uint64_t, Ref<InboxRelay>> inboxes;
  {
    const std::lock_guard lock(mutex_);
    has_ended_ = true;
    places.swap(places_);
    inboxes.swap(inboxes_);
  }
  for (const Place& place : places) {
    if (!place.call) continue;
    if (reason == nullptr) {
      place.call->lose();
    } else if (place.call->start()) {
      place.call->finish(Call::Outcome::error_term, *reason);
    }
  }
  for (const auto& [id, inbox] : inboxes) inbox->lose();
}

// To the worker
// ------------------------------------------------------------------------------------------------

void ProcessContext::tell(FrameKind kind, std::uint64_t id, std::uint32_t detail) noexcept {
  Message frame;
  if (begin_frame(frame, kind, id, detail)) (void)link_->send(frame);
}

Status ProcessContext::submit(Message& request) noexcept {
  return send_request(FrameKind::request, request);
}

Status ProcessContext::submit_nested(Message& request) noexcept {
  return send_request(FrameKind::nested, request);
}

Status ProcessContext::send_request(FrameKind kind, Message& request) noexcept {
  wire::Reader reader(request.bytes());
  wire::Item item{};
  for (int head = 0; head < 3; ++head) {  // The tuple, the operation, the call.
    if (reader.next(item) != Status::ok) return Status::corrupt;
  }
  const Call* const call = item.tag == wire::kHandle ? static_cast<Call*>(item.object) : nullptr;
  std::uint64_t const caller = call != nullptr ? call->caller() : 0;
  const bool wants_traceback = call != nullptr && call->wants_traceback();
  Message frame;
  if (!begin_frame(frame, kind, caller, wants_traceback ? 1 : 0)) return Status::out_of_memory;
  Status status = wire::to_portable(request.bytes(), *this, frame);
  if (status == Status::ok) status = link_->send(frame);
  if (status == Status::ok) {
    request.clear();
  } else if (call != nullptr) {
    (void)forget_call(reinterpret_cast<std::uint64_t>(call->runner()));
  }
  return status;
}

void ProcessContext::interrupt(const Ref<Call>& only) noexcept {
  tell(FrameKind::interrupt, only ? reinterpret_cast<std::uint64_t>(only->runner()) : 0);
}

// Names for what crosses
// ------------------------------------------------------------------------------------------------

std::size_t ProcessContext::atom_name(std::uint64_t word, std::span<char> name, bool* ok) noexcept {
  return vm_host().atom_name(word, name, ok);
}

/// Only calls go there, each once. Its number is kept where a call keeps what runs it.
Status ProcessContext::token_of(wire::HandleKind kind, Object& object,
                                std::uint64_t* token) noexcept {
  if (kind != wire::HandleKind::call) return Status::not_shared;
  auto& call = static_cast<Call&>(object);
  try {
    const std::lock_guard lock(mutex_);
    if (has_ended_) return Status::closed;
    if (first_free_ == kNoPlace) {
      places_.emplace_back().next_free = kNoPlace;
      first_free_ = static_cast<std::uint32_t>(places_.size() - 1);
    }
    std::uint32_t const index = first_free_;
    Place& place = places_[index];
    first_free_ = place.next_free;
    place.call = Ref<Call>::borrow(&call);
    *token = std::uint64_t{place.generation} << 32 | index;
    call.set_runner(reinterpret_cast<void*>(*token));
    return Status::ok;
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
}

Ref<Call> ProcessContext::call_of(std::uint64_t id) noexcept {
  const std::lock_guard lock(mutex_);
  std::uint64_t const index = id & UINT32_MAX;
  if (index >= places_.size() || places_[index].generation != id >> 32) return {};
  return places_[index].call;
}

Ref<Call> ProcessContext::forget_call(std::uint64_t id) noexcept {
  const std::lock_guard lock(mutex_);
  std::uint64_t const index = id & UINT32_MAX;
  if (index >= places_.size() || places_[index].generation != id >> 32) return {};
  Place& place = places_[index];
  Ref<Call> call = std::exchange(place.call, {});
  if (!call) return {};
  if (++place.generation == 0) place.generation = 1;  // No call is number 0.
  place.next_free = std::exchange(first_free_, static_cast<std::uint32_t>(index));
  return call;
}

Status ProcessContext::object_of(wire::HandleKind kind, std::uint64_t token,
                                 Ref<Object>* object) noexcept {
  try {
    if (kind == wire::HandleKind::call) {
      Ref<Call> call = call_of(token);
      if (!call) return Status::corrupt;
      *object = Ref<Object>::steal(call.take());
      return Status::ok;
    }
    return kind == wire::HandleKind::inbox ? add_inbox(token, object) : Status::corrupt;
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
}

/// A frame brings one at most. Throws bad_alloc.
Status ProcessContext::add_inbox(std::uint64_t token, Ref<Object>* object) {
  const std::lock_guard lock(mutex_);
  if (new_inbox_ || inboxes_.size() == kMostInboxes || inboxes_.contains(token)) {
    return Status::corrupt;
  }
  Ref<Channel> channel = Channel::create(0);
  if (!channel) return Status::out_of_memory;
  *object = Ref<Object>::borrow(channel.get());
  auto inbox = Ref<InboxRelay>::steal(
      new InboxRelay(Ref<ProcessContext>::borrow(this), token, std::move(channel)));
  inboxes_.emplace(token, inbox);
  new_inbox_ = std::move(inbox);
  return Status::ok;
}

Ref<InboxRelay> ProcessContext::inbox_of(std::uint64_t id) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = inboxes_.find(id);
  return found != inboxes_.end() ? found->second : Ref<InboxRelay>();
}

void ProcessContext::forget_inbox(const InboxRelay& inbox) noexcept {
  Ref<InboxRelay> last;  // Goes without the lock.
  const std::lock_guard lock(mutex_);
  const auto found = inboxes_.find(inbox.id());
  if (found == inboxes_.end() || found->second.get() != &inbox) return;
  last = std::move(found->second);
  inboxes_.erase(found);
}

/// All words of local pids end alike.
bool ProcessContext::is_pid(std::uint64_t word) noexcept {
  constexpr std::uint64_t kTag = 0xF;
  return (word & kTag) == (owner_ & kTag);
}

// From the worker
// ------------------------------------------------------------------------------------------------

/// closed: it is gone; corrupt; out_of_memory.
Status ProcessContext::serve() noexcept {
  Message frame;
  for (;;) {
    std::int64_t const kill_at = kill_at_ns_.load(order::relaxed);
    Status status = link_->receive(frame, kill_at);
    if (status == Status::empty) {
      if (now_ns() >= kill_at) return Status::closed;
      continue;
    }
    FrameHead head{};
    std::span<const std::uint8_t> rest;
    if (status == Status::ok) {
      status = read_frame(frame.bytes(), &head, &rest) ? take(head, rest) : Status::corrupt;
      if (const Ref<InboxRelay> inbox = std::exchange(new_inbox_, {})) inbox->open();
    }
    if (status != Status::ok) return status;
    frame.clear();
    if (kill_at != kNoDeadline && now_ns() >= kill_at) return Status::closed;
  }
}

Status ProcessContext::take(const FrameHead& head, std::span<const std::uint8_t> rest) noexcept {
  switch (head.kind) {
    case FrameKind::answer:
      return take_answer(head, rest);
    case FrameKind::drop:
      (void)forget_call(head.id);
      return Status::ok;
    case FrameKind::watch:
      watch(head.id);
      return Status::ok;
    case FrameKind::send:
      return take_send(head, rest);
    case FrameKind::inbox_closed:
      if (const Ref<InboxRelay> inbox = inbox_of(head.id)) inbox->lose();
      return Status::ok;
    case FrameKind::whereis:
      return look_up(head.id, rest);
    default:
      return Status::corrupt;
  }
}

/// One that comes late means nobody.
Status ProcessContext::take_answer(const FrameHead& head,
                                   std::span<const std::uint8_t> term) noexcept {
  if (head.detail > static_cast<std::uint32_t>(Call::Outcome::ok)) return Status::corrupt;
  Message answer;
  const Status status = wire::from_portable(term, *this, answer);
  if (status != Status::ok) return status;
  const Ref<Call> call = forget_call(head.id);
  if (call && call->start()) call->finish(static_cast<Call::Outcome>(head.detail), answer);
  return Status::ok;
}

/// A process that is not there gets nothing, and nobody is told. A call that has no form here, or
/// that would take too many atoms, is answered in its place; one whose process is not there goes
/// back to the worker.
Status ProcessContext::take_send(const FrameHead& head,
                                 std::span<const std::uint8_t> rest) noexcept {
  if (head.detail > rest.size()) return Status::corrupt;
  Message pid;
  Message message;
  Status status = wire::from_portable(rest.first(head.detail), *this, pid);
  if (status == Status::ok) {
    status = wire::from_portable(rest.subspan(head.detail), *this, message);
  }
  if (status != Status::ok) return status;
  const Status sent = vm_host().send(pid.bytes(), message);
  if (sent != Status::ok && head.id != 0) refuse(head.id, message, sent);
  return Status::ok;
}

/// `request`: {Tag, Id or Call, Name, Arguments, Path}, or {Tag, Id, Handler}; others are no calls.
void ProcessContext::refuse(std::uint64_t inbox, const Message& request, Status why) noexcept {
  wire::Reader reader(request.bytes());
  wire::Item item{};
  for (int head = 0; head < 3; ++head) {
    if (reader.next(item) != Status::ok) return;
  }
  std::string_view const text =
      why == Status::unreachable ? "exit: Erlang's callback server ended before the call did"
      : why == Status::limit     ? "error: too many atoms were made from Python"
                                 : "error: an argument has no form in Erlang";
  if (item.tag == wire::kHandle) {  // A call that goes on elsewhere.
    Message reason;
    auto& call = static_cast<Call&>(*item.object);
    if (wire::Writer(reason).atom(text.substr(text.find(' ') + 1)) && call.start()) {
      call.finish(Call::Outcome::error_term, reason);
    }
    return;
  }
  const Ref<InboxRelay> relay = inbox_of(inbox);
  if (!relay) return;
  if (why == Status::unreachable) {
    relay->give_back(item.integer);
  } else {
    relay->refuse(item.integer, text);
  }
}

Status ProcessContext::look_up(std::uint64_t question,
                               std::span<const std::uint8_t> name) noexcept {
  Message pid;
  const Status found =
      vm_host().whereis({reinterpret_cast<const char*>(name.data()), name.size()}, pid);
  Message frame;
  if (!begin_frame(frame, FrameKind::found, question, found == Status::ok ? 1 : 0)) {
    return Status::out_of_memory;
  }
  if (found == Status::ok) {
    std::uint8_t* const room = frame.extend(pid.size());
    if (room == nullptr) return Status::out_of_memory;
    std::memcpy(room, pid.bytes().data(), pid.size());
  }
  const Status status = link_->send(frame);
  return status == Status::out_of_memory ? status : Status::ok;
}

void ProcessContext::watch(std::uint64_t id) noexcept {
  const Ref<Call> call = call_of(id);
  if (!call || call->watch_caller()) return;
  Message forget;
  wire::Writer writer(forget);
  if (writer.tuple(2) && writer.integer(static_cast<std::int64_t>(Operation::forget)) &&
      writer.pid_word(call->caller())) {
    (void)submit(forget);
  }
}

}  // namespace penstock::nif
