// SPDX-License-Identifier: Apache-2.0
#include "uplink.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "output_uplink.hpp"
#include "penstock/waiter.hpp"
#include "penstock/wire.hpp"

namespace penstock::python {

namespace {

/// How long the thread that receives waits for memory.
constexpr std::int64_t kMemoryPatience_ns = 1'000'000'000;

}  // namespace

// Atoms
// ------------------------------------------------------------------------------------------------

Status AtomTable::word_of(std::string_view utf8, std::uint64_t* word) {
  constexpr std::size_t kMostCharacters = 255;
  const auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; };
  if (static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), begins)) > kMostCharacters) {
    return Status::too_large;
  }
  const std::lock_guard lock(mutex_);
  if (names_.size() == kMost) return Status::limit;
  names_.reserve(names_.size() + 1);  // From here on nothing fails half-way.
  const auto [known, is_new] = words_.try_emplace(std::string(utf8), names_.size() + 1);
  if (is_new) names_.push_back(&known->first);
  *word = known->second;
  return Status::ok;
}

std::size_t AtomTable::name_of(std::uint64_t word, std::span<char> name, bool* ok) {
  const std::lock_guard lock(mutex_);
  *ok = word - 1 < names_.size() && names_[word - 1]->size() <= name.size();
  return *ok ? names_[word - 1]->copy(name.data(), name.size()) : 0;
}

// Start
// ------------------------------------------------------------------------------------------------

Uplink::Uplink(Ref<Link> link, Ref<Context> context, Descriptor passing, Ref<Domain> domain)
    : link_(std::move(link)),
      context_(std::move(context)),
      channels_(std::move(passing), std::move(domain),
                [this](std::uint64_t number, std::uint32_t copies) {
                  tell(FrameKind::channel_back, number, copies);
                }),
      waiter_(*link_) {}

Uplink::~Uplink() = default;

bool Uplink::open_output(OutputSettings settings) {
  output_ = OutputUplink::open(*this, settings);
  return static_cast<bool>(output_);
}

// What Python asks of the VM
// ------------------------------------------------------------------------------------------------

/// On the stack of the thread that waits.
struct Uplink::Question {
  Message& pid;
  Status status = Status::unreachable;
  Atomic<std::uint32_t> is_answered{0};
};

/// A forked child shares the memory with its parent, and must leave it alone.
bool Uplink::is_forked() noexcept { return host() == nullptr; }

void Uplink::tell(FrameKind kind, std::uint64_t id, std::uint32_t detail) noexcept {
  if (is_forked()) return;
  Message frame;
  if (begin_frame(frame, kind, id, detail)) (void)link_->send(frame);
}

/// A process that does not exist gets nothing, and nobody is told.
Status Uplink::send(std::span<const std::uint8_t> pid, const Message& message,
                    const Channel* inbox) noexcept {
  std::uint64_t id = 0;
  if (inbox != nullptr) {
    const std::lock_guard lock(mutex_);
    for (const auto& [number, known] : inboxes_) {
      if (known.get() == inbox) id = std::max(id, number);
    }
  }
  Message frame;
  std::uint8_t* const room =
      begin_frame(frame, FrameKind::send, id, static_cast<std::uint32_t>(pid.size()))
          ? frame.extend(pid.size())
          : nullptr;
  if (room == nullptr) return Status::out_of_memory;
  std::memcpy(room, pid.data(), pid.size());
  const Status status = wire::to_portable(message.bytes(), *this, frame);
  return status == Status::ok ? link_->send(frame) : status;
}

Status Uplink::whereis(std::string_view name, Message& pid) noexcept {
  Question question{pid};
  std::uint64_t id = 0;
  try {
    const std::lock_guard lock(mutex_);
    id = ++last_id_;
    questions_.emplace(id, &question);
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
  Message frame;
  std::uint8_t* const room =
      begin_frame(frame, FrameKind::whereis, id) ? frame.extend(name.size()) : nullptr;
  if (room != nullptr) std::memcpy(room, name.data(), name.size());
  if (room == nullptr || link_->send(frame) != Status::ok) {
    const std::lock_guard lock(mutex_);
    // Nobody was asked.
    questions_.erase(id);
    return Status::out_of_memory;
  }
  while (question.is_answered.load(order::acquire("U1")) == 0) {
    (void)futex_wait(question.is_answered, 0, kNoDeadline);
  }
  return question.status;
}

void Uplink::answer_question(const FrameHead& head, std::span<const std::uint8_t> pid) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = questions_.find(head.id);
  if (found == questions_.end()) return;
  Question& question = *found->second;
  questions_.erase(found);
  std::uint8_t* const room = head.detail != 0 ? question.pid.extend(pid.size()) : nullptr;
  if (room != nullptr) std::memcpy(room, pid.data(), pid.size());
  if (head.detail != 0) question.status = room != nullptr ? Status::ok : Status::out_of_memory;
  Atomic<std::uint32_t>* const word = &question.is_answered;
  // Edge U1: from here on the thread that waits may go on, and the question be gone.
  word->store(1, order::release("U1"));
  futex_wake(word, 1);
}

Status Uplink::atom(std::string_view utf8, std::uint64_t& word) noexcept {
  try {
    return atoms_.word_of(utf8, &word);
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
}

std::size_t Uplink::atom_name(std::uint64_t word, std::span<char> name, bool* ok) noexcept {
  return atoms_.name_of(word, name, ok);
}

// Objects
// ------------------------------------------------------------------------------------------------

Status Uplink::token_of(wire::HandleKind kind, Object& object, std::uint64_t* token) noexcept {
  if (kind == wire::HandleKind::call) {
    *token = static_cast<RemoteCall&>(static_cast<Call&>(object)).id();
    return Status::ok;
  }
  if (kind == wire::HandleKind::channel || kind == wire::HandleKind::stream) {
    return channels_.number_of(static_cast<Shareable&>(object), token);
  }
  if (kind != wire::HandleKind::inbox) return Status::not_shared;
  auto inbox = Ref<Channel>::borrow(&static_cast<Channel&>(object));
  try {
    const std::lock_guard lock(mutex_);
    *token = ++last_id_;
    inboxes_.emplace(*token, inbox);
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
  inbox->add_sender();  // The VM, until it says that nobody there is one any more.
  return Status::ok;
}

Status Uplink::object_of(wire::HandleKind kind, std::uint64_t token, Ref<Object>* object) noexcept {
  if (kind == wire::HandleKind::channel || kind == wire::HandleKind::stream) {
    return channels_.object_of(kind, token, object);
  }
  if (kind != wire::HandleKind::call) return Status::corrupt;
  auto call = Ref<RemoteCall>::steal(new (std::nothrow)
                                         RemoteCall(*this, token, caller_, wants_traceback_));
  if (!call) return Status::out_of_memory;
  try {
    const std::lock_guard lock(mutex_);
    std::size_t const place = place_of(token);
    if (place >= calls_.size()) calls_.resize(place + 1);
    calls_[place] = call.get();
  } catch (const std::bad_alloc&) {
    return Status::out_of_memory;
  }
  *object = Ref<Object>::steal(call.take());
  return Status::ok;
}

RemoteCall::~RemoteCall() {
  uplink_.forget(*this);
  if (!is_answered_) uplink_.tell(FrameKind::drop, id_);
}

void RemoteCall::answer(Outcome outcome, const Message& term) noexcept {
  is_answered_ = uplink_.answered(id_, outcome, term);
}

/// The next call of its place may have come already.
void Uplink::forget(const RemoteCall& call) noexcept {
  const std::lock_guard lock(mutex_);
  std::size_t const place = place_of(call.id());
  if (place < calls_.size() && calls_[place] == &call) calls_[place] = nullptr;
}

bool Uplink::answered(std::uint64_t id, Call::Outcome outcome, const Message& term) noexcept {
  if (is_forked()) return true;
  Message frame;
  Status status = Status::out_of_memory;
  if (begin_frame(frame, FrameKind::answer, id, static_cast<std::uint32_t>(outcome))) {
    status = wire::to_portable(term.bytes(), *this, frame);
  }
  if (status == Status::ok) status = link_->send(frame);
  if (status == Status::ok || status == Status::closed) return true;
  Message failure;
  wire::Writer writer(failure);
  const auto failed = static_cast<std::uint32_t>(Call::Outcome::error_term);
  const char* const reason = status == Status::not_shared ? "not_shared" : "enomem";
  return begin_frame(failure, FrameKind::answer, id, failed) && writer.atom(reason) &&
         link_->send(failure) == Status::ok;
}

// The context's thread
// ------------------------------------------------------------------------------------------------

Status Uplink::try_take(Message& request) noexcept {
  if (is_forked()) return context_->requests().try_receive(request);
  Link::Look look(*link_);
  if (!look) return context_->requests().try_receive(request);
  const Status status = next_request(look, request);
  if (status == Status::ok) look.end_briefly();
  return status;
}

Status Uplink::take(Message& request) noexcept {
  Channel& queue = context_->requests();
  const auto wait_for_queue = [&] {
    ThreadWaiter waiter;
    auto woken = ThreadWaiter::Wake::fired;
    return queue.receive(request, kNoDeadline, waiter, &woken);
  };
  if (is_forked()) return wait_for_queue();
  Link::Look look(*link_);
  // The thread that listens is at it, and puts what comes into the queue.
  if (!look) return wait_for_queue();
  Status status = next_request(look, request);
  if (status == Status::ok) look.end_briefly();
  if (status != Status::empty || !look) return status;
  std::int64_t const started = now_ns();
  const auto is_there = [&] {
    return look.is_something_there() || queue.size() != 0 || queue.is_closed();
  };
  status = spin_.spin(started, kNoDeadline, is_there) ? next_request(look, request)
                                                      : sleep(look, request);
  spin_.learn(now_ns() - started);
  if (status == Status::ok) look.end_briefly();
  return status;
}

/// What the thread that listens has put into the queue came before what is still there.
Status Uplink::next_request(Link::Look& look, Message& request) noexcept {
  Channel& queue = context_->requests();
  for (;;) {
    const Status queued = queue.try_receive(request);
    if (queued != Status::empty || !look) return queued;
    const Status status = look.take(frame_, kMostTaken);
    if (status == Status::corrupt) look.give_up();
    if (status == Status::out_of_memory || (status == Status::empty && look)) return status;
    if (status != Status::ok) continue;  // The thread that listens takes it.
    FrameHead head{};
    std::span<const std::uint8_t> rest;
    if (read_frame(frame_.bytes(), &head, &rest)) {
      if (head.kind == FrameKind::request && !queue.is_closed()) {
        const bool is_there = read_request(head, rest, request);
        frame_.reset();
        if (is_there) return Status::ok;
        request.clear();
        continue;
      }
      deal_with(head, rest);
    }
    frame_.reset();
  }
}

Status Uplink::sleep(Link::Look& look, Message& request) noexcept {
  WaitList& line = context_->requests().data_waiters();
  line.add(waiter_);
  Status status = Status::empty;
  if (look.lie_down()) {
    status = context_->requests().receive_or_wait(request);
    if (status == Status::empty) {
      look.park();
      status = next_request(look, request);
    }
  }
  waiter_.leave(line);
  WaitList::forget_place(waiter_);
  return status;
}

bool LookWaiter::fire() noexcept {
  Link& link = link_;
  has_fired_.store(1, order::release("W3"));  // From here on it may be in line again.
  link.rouse_looker();
  return true;
}

void LookWaiter::leave(WaitList& list) noexcept {
  if (list.remove(*this)) return;
  for (unsigned turn = 0; has_fired_.load(order::acquire("W3")) == 0; ++turn) spin_pause(turn);
  has_fired_.store(0, order::relaxed);
}

/// Delivers what comes for any thread, so that the one that listens need not be woken for it.
bool Uplink::look_out(std::int64_t until_ns, const ThreadWaiter* me,
                      const Channel& inbox) noexcept {
  Link::Look look(*link_);
  if (!look) return false;
  const auto has_come = [&] { return inbox.size() != 0 || inbox.is_closed(); };
  do {
    for (int each = 0; each < 16; ++each) {
      if (look.is_something_there()) {
        if (look.take(frame_, kMostTaken) != Status::ok) return has_come();
        FrameHead head{};
        std::span<const std::uint8_t> rest;
        if (read_frame(frame_.bytes(), &head, &rest)) deal_with(head, rest);
        frame_.reset();
      }
      if (has_come() || (me != nullptr && me->interrupted())) return true;
      for (int pause = 0; pause < 4; ++pause) spin_pause(0);
    }
  } while (now_ns() < until_ns);
  return false;
}

// What the VM says
// ------------------------------------------------------------------------------------------------

void Uplink::run() noexcept {
  Message frame;
  std::int64_t out_since_ns = kNoDeadline;
  for (;;) {
    switch (link_->receive(frame, kNoDeadline)) {
      case Status::ok: {
        FrameHead head{};
        std::span<const std::uint8_t> rest;
        if (read_frame(frame.bytes(), &head, &rest)) deal_with(head, rest);
        frame.clear();
        out_since_ns = kNoDeadline;
        break;
      }
      case Status::empty:
        break;
      case Status::out_of_memory:
        wait_for_memory(&out_since_ns);
        break;
      default:
        _exit(0);  // Nobody is there to know of anything.
    }
  }
}

/// Somebody else may free some. Not for ever: callers would wait for what never comes.
void Uplink::wait_for_memory(std::int64_t* since_ns) noexcept {
  std::int64_t const now = now_ns();
  if (*since_ns == kNoDeadline) *since_ns = now;
  if (now - *since_ns > kMemoryPatience_ns) {
    tell(FrameKind::no_memory);
    _exit(1);
  }
  sched_yield();
}

void Uplink::deal_with(const FrameHead& head, std::span<const std::uint8_t> rest) noexcept {
  switch (head.kind) {
    case FrameKind::request:
    case FrameKind::nested:
      return take_request(head, rest);
    case FrameKind::interrupt:
      return interrupt(head.id);
    case FrameKind::finish:
      return context_->finish();
    case FrameKind::stop:
      return context_->stop();
    case FrameKind::inbox:
      return head.id == 0 ? output_->settled(rest) : take_inbox(head.id, rest);
    case FrameKind::inbox_lost:
      return lose_inbox(head.id);
    case FrameKind::found:
      return answer_question(head, rest);
    case FrameKind::channel_gone:
      return channels_.forget(head.id);
    case FrameKind::output_taken:
      return output_->taken(head.id);
    case FrameKind::output_closed:
      return output_->close();
    default:
      return;
  }
}

/// The caller's call, as the VM numbers it, is answered for want of memory.
void Uplink::refuse_request(std::span<const std::uint8_t> request) noexcept {
  wire::Reader reader(request);
  wire::Item item{};
  for (int head = 0; head < 3; ++head) {  // The tuple, the operation, the call.
    if (reader.next(item) != Status::ok) return;
  }
  constexpr auto kFailed = static_cast<std::uint32_t>(Call::Outcome::error_term);
  Message answer;
  if (item.tag == wire::kToken && begin_frame(answer, FrameKind::answer, item.word, kFailed) &&
      wire::Writer(answer).atom("enomem")) {
    (void)link_->send(answer);
  }
}

bool Uplink::read_request(const FrameHead& head, std::span<const std::uint8_t> rest,
                          Message& request) noexcept {
  caller_ = head.id;
  wants_traceback_ = head.detail != 0;
  if (wire::from_portable(rest, *this, request) == Status::out_of_memory) {
    refuse_request(rest);  // Before the call is dropped with the request.
    return false;
  }
  channels_.came(request);
  return true;
}

/// What cannot be taken is dropped, and a call that is dropped says so.
void Uplink::take_request(const FrameHead& head, std::span<const std::uint8_t> rest) noexcept {
  Message request;
  if (!read_request(head, rest, request)) return;
  (void)(head.kind == FrameKind::nested ? context_->submit_nested(request)
                                        : context_->submit(request));
}

void Uplink::take_inbox(std::uint64_t id, std::span<const std::uint8_t> rest) noexcept {
  Ref<Channel> inbox;
  {
    const std::lock_guard lock(mutex_);
    const auto found = inboxes_.find(id);
    if (found == inboxes_.end()) return;
    inbox = found->second;
  }
  Message message;
  if (wire::from_portable(rest, *this, message) != Status::ok) return;
  channels_.came(message);
  if (inbox->try_send(message) == Status::closed) {
    // Its thread has ended; what stands for it in Erlang is to end, too.
    tell(FrameKind::inbox_closed, id);
    lose_inbox(id);
  }
}

void Uplink::lose_inbox(std::uint64_t id) noexcept {
  Ref<Channel> inbox;
  {
    const std::lock_guard lock(mutex_);
    const auto found = inboxes_.find(id);
    if (found == inboxes_.end()) return;
    inbox = std::move(found->second);
    inboxes_.erase(found);
  }
  inbox->remove_sender();
}

void Uplink::interrupt(std::uint64_t id) noexcept {
  if (id == 0) return context_->interrupt();
  Ref<Call> call;
  {
    const std::lock_guard lock(mutex_);
    RemoteCall* const found = place_of(id) < calls_.size() ? calls_[place_of(id)] : nullptr;
    // One whose destructor runs waits for this lock, and needs no interrupt.
    if (found == nullptr || found->id() != id || !found->try_retain()) return;
    call = Ref<Call>::steal(found);
  }
  (void)call->cancel();
  context_->interrupt(call);
}

}  // namespace penstock::python
