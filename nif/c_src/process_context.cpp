// SPDX-License-Identifier: Apache-2.0
#include "process_context.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <exception>
#include <new>
#include <system_error>
#include <utility>

#include "inbox_relay.hpp"
#include "output_relay.hpp"
#include "penstock/python/runtime.hpp"
#include "penstock/thread.hpp"
#include "penstock/wire.hpp"
#include "vm_host.hpp"
#include "worker_end.hpp"

namespace penstock::nif {

namespace {

/// Python starts in less than a tenth of that.
constexpr std::int64_t kStart_ns = 60'000'000'000;
/// How long a worker that was told to stop may take.
constexpr std::int64_t kPatience_ns = 1'500'000'000;
/// How long callers of one that ended by itself may wait until its last words were handled.
constexpr std::int64_t kLastWords_ns = 500'000'000;

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

/// Two ends of a unix socket.
struct SocketPair {
  explicit SocketPair(int type) {
    int ends[2];
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
    ours = Descriptor(ends[0]);
    theirs = Descriptor(ends[1]);
  }
  Descriptor ours;
  Descriptor theirs;
};

}  // namespace

// Start and end
// ------------------------------------------------------------------------------------------------

ProcessContext::ProcessContext(Parts parts, std::uint64_t owner, OnExit on_exit) noexcept
    : membership_(std::move(parts.membership)),
      process_(std::move(parts.process)),
      link_(std::move(parts.link)),
      exports_(std::move(parts.passing)),
      owner_(owner),
      on_exit_(std::move(on_exit)) {}

ProcessContext::~ProcessContext() = default;

/// Throws.
ProcessContext::Parts ProcessContext::start_process(const WorkerCommand& command,
                                                    std::uint64_t owner) {
  Parts parts;
  VmDomain& vm = vm_domain(owner);
  parts.membership = std::make_unique<Membership>(vm);
  SocketPair bell(SOCK_STREAM);
  SocketPair passing(SOCK_SEQPACKET);
  Segment segment = Segment::create_shared(Link::bytes(), "penstock-link");
  parts.process = std::make_unique<WorkerProcess>(command, bell.theirs.get());
  const int to_worker = bell.ours.get();
  const int passed[] = {segment.descriptor(), vm.domain->descriptor(), passing.theirs.get()};
  parts.link = Link::create(std::move(segment), bell.ours.take(), Link::Side::vm,
                            parts.process->descriptor());
  const std::uint8_t byte = 0;  // The link has what it needs, and the rings are ready.
  if (send_descriptors(to_worker, {&byte, 1}, passed) != 0) fail("sendmsg");
  if (parts.membership->number() != 0) parts.passing = std::move(passing.ours);
  return parts;
}

Ref<ProcessContext> ProcessContext::start(const WorkerCommand& command, std::uint64_t owner,
                                          OnExit on_exit, std::string* failure) {
  try {
    auto context = Ref<ProcessContext>::steal(
        new ProcessContext(start_process(command, owner), owner, std::move(on_exit)));
    if (!context->greet(failure)) {
      if (command.memory_limit != 0) {
        *failure += ", with a memory limit of " + std::to_string(command.memory_limit) + " bytes";
      }
      return {};
    }
    const auto body = [](void* of) -> void* {
      name_this_thread("penstock worker");
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
  const python::OutputSettings output = python::output_settings();
  tell(FrameKind::setup, owner_,
       membership_->number() << kSetupNumber | (output.logs ? kSendLogs : 0U) |
           (output.text ? kSendText : 0U));
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

/// A call took too long. Whoever calls from now on is not to share its end.
void ProcessContext::kill() noexcept {
  is_killed_.store(1, order::relaxed);  // The process's end comes later.
  process_->kill();
}

void ProcessContext::run() noexcept {
  const Status status = serve();
  {
    const std::lock_guard lock(mutex_);
    has_ended_ = true;
  }
  const bool was_asked = kill_at_ns_.load(order::relaxed) != kNoDeadline;
  link_->stop_receiving();  // No caller that looks brings anything new from here on.
  link_->hang_up();
  process_->kill();
  const WorkerEnd how = process_->wait();
  membership_.reset();
  exports_.clear();
  Message reason;
  if (was_asked) {
    end(nullptr);
    if (!wire::Writer(reason).atom("stopped")) reason.clear();
  } else {
    const char* const why = status == Status::corrupt              ? "corrupt"
                            : is_killed_.load(order::relaxed) != 0 ? "timeout"
                            : is_without_memory_                   ? "out_of_memory"
                                                                   : nullptr;
    write_reason(reason, how, why);
    if (output_) output_->settle(now_ns() + kLastWords_ns);
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
  output_ = {};
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

/// Takes back the copies of channels that are in a message which the worker does not get.
class ProcessContext::Outgoing final : public wire::Porter {
 public:
  explicit Outgoing(ProcessContext& of) noexcept : of_(of) {}
  ~Outgoing() {
    for (std::uint64_t const number : channels_) of_.take_back(number, 1);
  }
  Outgoing(const Outgoing&) = delete;
  Outgoing& operator=(const Outgoing&) = delete;
  void was_sent() noexcept { channels_.clear(); }

  [[nodiscard]] std::size_t atom_name(std::uint64_t word, std::span<char> name,
                                      bool* ok) noexcept override {
    return of_.atom_name(word, name, ok);
  }
  [[nodiscard]] Status token_of(wire::HandleKind kind, Object& object,
                                std::uint64_t* token) noexcept override {
    if (kind != wire::HandleKind::channel && kind != wire::HandleKind::stream) {
      return of_.token_of(kind, object, token);
    }
    try {
      channels_.reserve(channels_.size() + 1);
    } catch (const std::bad_alloc&) {
      return Status::out_of_memory;
    }
    const Status status = of_.exports_.number_of(static_cast<Shareable&>(object), token);
    if (status == Status::ok) channels_.push_back(*token);
    return status;
  }
  [[nodiscard]] Status object_of(wire::HandleKind kind, std::uint64_t token,
                                 Ref<Object>* object) noexcept override {
    return of_.object_of(kind, token, object);
  }
  [[nodiscard]] bool is_pid(std::uint64_t word) noexcept override { return of_.is_pid(word); }

 private:
  ProcessContext& of_;
  std::vector<std::uint64_t> channels_;
};

Status ProcessContext::send_term(Message& frame, std::span<const std::uint8_t> term) noexcept {
  Outgoing porter(*this);
  Status status = wire::to_portable(term, porter, frame);
  if (status == Status::ok) status = link_->send(frame);
  if (status == Status::ok) porter.was_sent();
  return status;
}

void ProcessContext::take_back(std::uint64_t channel, std::uint32_t copies) noexcept {
  if (exports_.give_back(channel, copies)) tell(FrameKind::channel_gone, channel);
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
  const Status status = send_term(frame, request.bytes());
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

/// Of calls, each once. Its number is kept where a call keeps what runs it.
Status ProcessContext::token_of(wire::HandleKind kind, Object& object,
                                std::uint64_t* token) noexcept {
  if (kind != wire::HandleKind::call) return Status::not_shared;
  auto& call = static_cast<Call&>(object);
  try {
    const std::lock_guard lock(mutex_);
    if (has_ended_ || is_killed_.load(order::relaxed) != 0) return Status::closed;
    if (first_free_ == kNoPlace) {
      places_.emplace_back().next_free = kNoPlace;
      first_free_ = static_cast<std::uint32_t>(places_.size() - 1);
    }
    std::uint32_t const index = first_free_;
    Place& place = places_[index];
    first_free_ = place.next_free;
    place.call = Ref<Call>::borrow(&call);
    in_hands_.fetch_add(1, order::relaxed);
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
  in_hands_.fetch_sub(1, order::relaxed);
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
    if (kind == wire::HandleKind::channel || kind == wire::HandleKind::stream) {
      *object = exports_.object_of(kind, token);
      return *object ? Status::ok : Status::corrupt;
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

bool ProcessContext::is_pid(std::uint64_t word) noexcept { return wire::is_pid_like(word, owner_); }

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
    if (status == Status::ok) status = deal_with(frame);
    if (status != Status::ok) return status;
    frame.clear();
    if (kill_at != kNoDeadline && now_ns() >= kill_at) return Status::closed;
  }
}

bool ProcessContext::look_out(std::int64_t for_ns) noexcept {
  Link::Look look(*link_);
  if (!look) return false;
  if (take_some(look)) return true;
  if (for_ns == 0) return false;
  // Others may run as well, who are answered in turns.
  const bool is_one_of_many = in_hands_.load(order::relaxed) > 1;
  std::int64_t const until = now_ns() + (is_one_of_many ? std::min(for_ns, kShortLook_ns) : for_ns);
  do {
    for (int each = 0; each < 16; ++each) {
      if (take_some(look)) return true;
      for (int pause = 0; pause < 4; ++pause) spin_pause(0);
    }
  } while (now_ns() < until);
  return false;
}

/// Whether something was there.
bool ProcessContext::take_some(Link::Look& look) noexcept {
  if (!look.is_something_there()) return false;
  std::size_t bytes = 0;
  for (int taken = 0; taken < kMostTaken && bytes < kMostBytes / 4; ++taken) {
    Status status = look.take(frame_, kMostBytes);
    if (status == Status::empty || status == Status::out_of_memory) break;
    bytes += frame_.size();
    if (status == Status::ok) status = deal_with(frame_);
    if (status != Status::ok) {
      look.give_up();
      break;
    }
    frame_.reset();
  }
  return true;
}

Status ProcessContext::deal_with(const Message& frame) noexcept {
  FrameHead head{};
  std::span<const std::uint8_t> rest;
  const Status status =
      read_frame(frame.bytes(), &head, &rest) ? take(head, rest) : Status::corrupt;
  if (const Ref<InboxRelay> inbox = std::exchange(new_inbox_, {})) inbox->open();
  return status;
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
    case FrameKind::channel_back:
      take_back(head.id, head.detail);
      return Status::ok;
    case FrameKind::output:
    case FrameKind::sync:
      return take_output(head, rest);
    case FrameKind::no_memory:
      is_without_memory_ = true;
      return Status::ok;
    default:
      return Status::corrupt;
  }
}

/// One that comes late means nobody.
Status ProcessContext::take_answer(const FrameHead& head,
                                   std::span<const std::uint8_t> term) noexcept {
  if (head.detail > static_cast<std::uint32_t>(Call::Outcome::ok)) return Status::corrupt;
  const Status status = wire::from_portable(term, *this, answer_);
  const Ref<Call> call = status == Status::ok ? forget_call(head.id) : Ref<Call>();
  if (call && call->start()) call->finish(static_cast<Call::Outcome>(head.detail), answer_);
  answer_.reset();
  return status;
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
