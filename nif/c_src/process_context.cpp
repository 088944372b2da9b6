// SPDX-License-Identifier: Apache-2.0
#include "process_context.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
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

}  // namespace penstock::nif
