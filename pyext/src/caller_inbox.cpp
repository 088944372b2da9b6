// SPDX-License-Identifier: Apache-2.0
#include <new>

#include "blocking.hpp"
#include "caller_wait.hpp"
#include "decode.hpp"
#include "exceptions.hpp"
#include "executor.hpp"
#include "inbox_source.hpp"
#include "loop_core.hpp"
#include "loop_endpoint.hpp"
#include "penstock/host.hpp"
#include "penstock/wire.hpp"
#include "utf8.hpp"

/// What comes back to a thread that calls Erlang.
namespace penstock::python {

namespace {

/// The head of what came: everything up to what depends on the operation.
struct Head {
  bool ok = false;
  Operation operation{};
  std::uint64_t id = 0;       ///< Of an answer.
  std::uint64_t process = 0;  ///< opened: the new process; else: the handler, 0 if it is for this
                              ///< call only.
};

Head read_head(wire::Reader& reader) noexcept {
  Head head;
  wire::Item item;
  if (reader.next(item) != Status::ok || item.tag != wire::kSmallTuple) return head;
  if (reader.next(item) != Status::ok || item.tag != wire::kSmallInteger) return head;
  head.operation = static_cast<Operation>(item.integer);
  head.ok = true;
  const bool is_for_callers =
      (head.operation >= Operation::opened && head.operation <= Operation::down) ||
      head.operation == Operation::started || head.operation == Operation::undelivered;
  if (!is_for_callers) return head;
  if (head.operation != Operation::opened) {
    if (reader.next(item) != Status::ok) return {};
    head.id = static_cast<std::uint64_t>(item.integer);
  }
  if (head.operation == Operation::undelivered) return head;
  if (reader.next(item) != Status::ok) return {};
  if (item.tag == wire::kPidWord) head.process = item.word;
  return head;
}

/// RuntimeError of a failure: {.., Class, Text, Reason, Stack}. Empty: another exception is set.
PyRef make_error(ModuleState& state, wire::Reader& reader) {
  PyRef fields[4];
  for (PyRef& field : fields) {
    field = PyRef::steal(decode(state, reader));
    if (!field) return {};
  }
  auto& [error_class, text, reason, stack] = fields;
  PyRef error = PyRef::steal(PyObject_CallOneArg(PyExc_RuntimeError, text.get()));
  if (!error || PyObject_SetAttr(error.get(), state.names.error_class, error_class.get()) != 0 ||
      PyObject_SetAttr(error.get(), state.names.reason, reason.get()) != 0 ||
      PyObject_SetAttr(error.get(), state.names.stack, stack.get()) != 0) {
    return {};
  }
  return error;
}

}  // namespace

// Waiting
// ------------------------------------------------------------------------------------------------

/// For an answer, or until the call comes back. False: an exception is set.
bool Caller::await(const Wait& wait) {
  while (!wait.answer && wait.is_sent) {
    if (wait.is_lost) {
      raise_lost();
      return false;
    }
    if (!receive_one()) return false;
    if (wait.stops != parking().stops()) {
      PyErr_SetNone(state_.application_stopped);
      return false;
    }
  }
  return true;
}

/// When everything stops, Erlang's processes may be the first to end; and when this is known, they
/// may be there again.
void Caller::raise_lost() {
  const std::uint32_t stops = parking().stops();
  if ((innermost_ != nullptr && innermost_->stops != stops) ||
      (!futures_.empty() && futures_since_ != stops) ||
      parking().must_stop(owner_of_waits(state_))) {
    return PyErr_SetNone(state_.application_stopped);
  }
  PyErr_SetString(PyExc_RuntimeError, "exit: Erlang's callback server ended before the call did");
}

/// Waits for whatever comes next, and deals with it. False: an exception is set.
bool Caller::receive_one() {
  leave_line();  // What comes is for us to take, not for a loop.
  Received message = spare();
  if (!message) {
    PyErr_NoMemory();
    return false;
  }
  Status status = Status::empty;
  if (!comes_soon(*message, status) &&
      !block(state_, Status::empty, status, [&](ThreadWaiter& waiter, ThreadWaiter::Wake* woken) {
        return receive(*message, waiter, woken);
      })) {
    return false;
  }
  if (status == Status::ok) {
    dispatch(std::move(message));
    return PyErr_Occurred() == nullptr;
  }
  if (status == Status::out_of_memory) {
    PyErr_NoMemory();
  } else {
    process_ = 0;
    raise_lost();
  }
  return false;
}

/// Looks for a little while, with the GIL. Not for as long as that paid lately, as others do: while
/// threads that wait for the GIL keep a processor busy each answer is late, and so it never would
/// pay again.
bool Caller::comes_soon(Message& message, Status& status) noexcept {
  if (spin_limit_ns() == 0) return false;
  std::int64_t const until = now_ns() + kSpinWithGil_ns;
  if (host() != nullptr) (void)host()->look_out(until, nullptr, *inbox_);
  do {
    for (int look = 0; look < 8; ++look) {
      status = inbox_->try_receive(message);
      if (status != Status::empty) return true;
      for (int pause = 0; pause < 4; ++pause) spin_pause(0);
    }
  } while (now_ns() < until);
  return false;
}

/// Without it. What comes to a worker process is first looked for where it comes in.
Status Caller::receive(Message& message, ThreadWaiter& waiter, ThreadWaiter::Wake* woken) noexcept {
  std::int64_t const started = now_ns();
  if (Host* const erlang = host(); erlang != nullptr && spin_.ns() != 0) {
    (void)erlang->look_out(started + spin_.ns(), &waiter, *inbox_);
  }
  const Status status = inbox_->receive(message, kNoDeadline, waiter, woken);
  spin_.learn(now_ns() - started);
  return status;
}

Caller::Received Caller::spare() {
  if (spare_) {
    spare_->clear();
    return std::move(spare_);
  }
  return Received(new (std::nothrow) Message);
}

// Dealing with it
// ------------------------------------------------------------------------------------------------

void Caller::dispatch(Received message) {
  wire::Reader reader(message->bytes());
  const Head head = read_head(reader);
  if (!head.ok) return;
  switch (head.operation) {
    case Operation::opened:
      // What ran while the first one was waited for has asked for another one.
      if (process_ != 0) {
        dismiss(head.process, CallerTag::close);
      } else {
        process_ = head.process;
        adopt_handlers();
      }
      break;
    case Operation::started:
      for (Wait* wait = innermost_; wait != nullptr; wait = wait->outer) {
        if (wait->id == head.id) wait->handler = head.process;
      }
      break;
    case Operation::value:
    case Operation::failure:
      return answered(head.id, head.process, false, std::move(message));
    case Operation::down:
      if (head.id == 0) {
        if (head.process == process_) lose_process();
        break;
      }
      return answered(head.id, head.process, true, std::move(message));
    case Operation::undelivered:
      came_back(head.id);
      break;
    default:
      if (executor_ != nullptr) executor_->execute_nested(*message);
      break;
  }
  spare_ = std::move(message);
}

void Caller::answered(std::uint64_t id, std::uint64_t handler, bool is_down, Received message) {
  for (Wait* wait = innermost_; wait != nullptr; wait = wait->outer) {
    const bool is_meant = wait->id == id || (is_down && wait->handler == handler && handler != 0);
    if (!is_meant || wait->answer) continue;
    wait->handler = is_down ? 0 : handler;
    wait->answer = std::move(message);
    return;
  }
  if (is_down) {
    for (std::uint64_t& known : handlers_) {
      if (known == handler) known = 0;
    }
  }
  const auto known = futures_.find(id);
  if (known != futures_.end()) {
    const PyRef future = PyRef::steal(known->second);
    futures_.erase(known);
    resolve(future.get(), *message);
  } else if (!is_down && handler != 0) {
    // Its call was given up before its process was known.
    dismiss(handler, CallerTag::release);
  }
  spare_ = std::move(message);
}

/// Nobody has it: the process was gone before it got there.
void Caller::came_back(std::uint64_t id) {
  for (Wait* wait = innermost_; wait != nullptr; wait = wait->outer) {
    if (wait->id != id || wait->answer) continue;
    if (wait->is_adopted) {  // Its handler works, but nobody watches it.
      wait->is_lost = true;
      return;
    }
    if (wait->handler == wait->sent_to) wait->handler = 0;
    if (process_ == wait->sent_to) process_ = 0;
    wait->is_sent = false;
    return;
  }
  const auto known = futures_.find(id);
  if (known == futures_.end()) return;
  const SetAside exception;
  raise_lost();
  const PyRef future = PyRef::steal(known->second);
  futures_.erase(known);
  fail(future, take_exception().get());
}

PyObject* Caller::result_of(const Message& message) {
  wire::Reader reader(message.bytes());
  const Head head = read_head(reader);
  if (head.operation == Operation::value) return decode(state_, reader);
  const PyRef error = make_error(state_, reader);
  if (error) PyErr_SetObject(PyExc_RuntimeError, error.get());
  return nullptr;
}

/// An exception of the future itself is reported, not raised.
void Caller::resolve(PyObject* future, const Message& message) {
  const ModuleState::Names& names = state_.names;
  const PyRef done = PyRef::steal(PyObject_CallMethodNoArgs(future, names.done));
  if (done && done.get() == Py_False) {
    PyRef value = PyRef::steal(result_of(message));
    PyObject* const method = value ? names.set_result : names.set_exception;
    if (!value) value = take_exception();
    const PyRef set = PyRef::steal(PyObject_CallMethodOneArg(future, method, value.get()));
  }
  if (PyErr_Occurred() != nullptr) PyErr_WriteUnraisable(future);
}

// Futures
// ------------------------------------------------------------------------------------------------

bool Caller::watch_in(PyObject* loop) {
  if (!reader_) {
    PyRef reader = PyRef::steal(new_inbox_reader(state_, *this));
    if (!reader) return false;
    reader_ = std::move(reader);
  }
  LoopCore* const ours = LoopCore::find(state_, loop);
  return ours != nullptr ? watch_inbox_in(*ours, reader_) : watch_in_other(loop);
}

bool Caller::watch_in_other(PyObject* loop) {
  auto& reader = *reinterpret_cast<InboxReaderObject*>(reader_.get());
  if (!watch_inbox(state_, loop, reader)) return false;
  if (!event_waiter_) {
    event_waiter_ = Ref<InboxWaiter>::steal(new (std::nothrow)
                                                InboxWaiter(Ref<Mailbox>::borrow(reader.mailbox)));
  }
  if (!event_waiter_) {
    PyErr_NoMemory();
    return false;
  }
  if (waiter_.get() != event_waiter_.get()) leave_line();
  waiter_ = event_waiter_;
  return true;
}

/// While there are futures, so that a loop is told when something comes. What came before is dealt
/// with at once.
void Caller::get_in_line() {
  if (looks_itself()) return;
  while (!futures_.empty() && !waiter_->is_linked) {
    waiter_->retain();  // The line's.
    waiter_->is_linked = true;
    inbox_->data_waiters().add(*waiter_);
    Received message = spare();
    if (!message) return;  // The loop is told again by the next that comes.
    const Status status = inbox_->receive_or_wait(*message);
    if (status == Status::empty) {
      spare_ = std::move(message);
      return;
    }
    leave_line();
    if (status == Status::ok) {
      dispatch(std::move(message));
    } else {
      lost();
    }
  }
}

/// As get_in_line(), but what is there already is for the loop to find: it may be a request, and
/// whoever starts a call does not expect that to run meanwhile.
void Caller::have_loop_look() {
  if (looks_itself() || futures_.empty() || waiter_->is_linked) return;
  waiter_->retain();  // The line's.
  waiter_->is_linked = true;
  inbox_->data_waiters().add(*waiter_);
  inbox_->pass_on_data();
}

void Caller::leave_line() noexcept {
  if (!waiter_ || !waiter_->is_linked || !inbox_->data_waiters().remove(*waiter_)) return;
  waiter_->is_linked = false;
  waiter_->release();
}

void Caller::serve() {
  for (;;) {
    Received message = spare();
    if (!message || inbox_->try_receive(*message) != Status::ok) {
      if (message) spare_ = std::move(message);
      return;
    }
    dispatch(std::move(message));
  }
}

bool Caller::serve_loop() {
  serve();
  if (parking().must_stop(owner_of_waits(state_))) {
    PyErr_SetNone(state_.application_stopped);
    fail_futures(take_exception().get());
  }
  get_in_line();
  return let_interrupt_in(state_);
}

bool Caller::is_something_in(const Channel& inbox) noexcept {
  return has_ended(inbox) || inbox.size() != 0;
}

bool Caller::has_ended(const Channel& inbox) noexcept {
  return inbox.is_closed() || !inbox.has_sender();
}

void Caller::serve_source() {
  const bool ended = has_ended(*inbox_);
  serve();
  if (ended && inbox_->size() == 0 && !futures_.empty()) lost();
}

bool Caller::sleep_with(const Ref<InboxWaiter>& waiter) {
  if (futures_.empty()) {
    leave_line();
    return false;
  }
  if (parking().must_stop(owner_of_waits(state_))) {
    PyErr_SetNone(state_.application_stopped);
    fail_futures(take_exception().get());
    return true;
  }
  if (waiter_.get() != waiter.get()) leave_line();
  waiter_ = waiter;
  if (!waiter->is_linked) {
    waiter->retain();  // The line's.
    waiter->is_linked = true;
    inbox_->data_waiters().add(*waiter);
  }
  if (!is_something_in(*inbox_)) return false;
  leave_line();
  return true;
}

void Caller::stop_using(const InboxWaiter& waiter) {
  if (waiter_.get() != &waiter) return;
  leave_line();
  waiter_ = event_waiter_;
  if (!waiter_) return;
  const SetAside exception;
  get_in_line();
  PyErr_Clear();
}

/// Nobody in Erlang knows the inbox any more.
void Caller::lost() {
  process_ = 0;
  raise_lost();
  fail_futures(take_exception().get());
}

/// The process that starts handlers is gone. Who waits for one of them may do so for ever if
/// nobody watches it.
void Caller::lose_process() {
  process_ = 0;
  if (innermost_ == nullptr) {
    if (!futures_.empty()) lose_futures();
    return;
  }
  if (open() || PyErr_ExceptionMatches(PyExc_RuntimeError) == 0) return;
  PyErr_Clear();  // There is no other one.
  for (Wait* wait = innermost_; wait != nullptr; wait = wait->outer) {
    wait->is_lost = wait->is_sent;
  }
}

void Caller::lose_futures() {
  const SetAside exception;
  raise_lost();
  fail_futures(take_exception().get());
}

void Caller::fail_futures(PyObject* exception) {
  auto futures = std::exchange(futures_, {});
  futures_.insert(futures.extract(unsent_));
  for (const auto& [id, each] : futures) fail(PyRef::steal(each), exception);
}

void Caller::fail(const PyRef& future, PyObject* exception) {
  const ModuleState::Names& names = state_.names;
  const PyRef done = PyRef::steal(PyObject_CallMethodNoArgs(future.get(), names.done));
  if (done && done.get() == Py_False) {
    const PyRef set =
        PyRef::steal(PyObject_CallMethodOneArg(future.get(), names.set_exception, exception));
  }
  if (PyErr_Occurred() != nullptr) PyErr_WriteUnraisable(future.get());
}

// The end
// ------------------------------------------------------------------------------------------------

/// They end when they have done what they do. Needs no GIL.
void Caller::end_processes() noexcept {
  inbox_->close();
  for (const std::uint64_t handler : std::exchange(handlers_, {})) {
    dismiss(handler, CallerTag::release);
  }
  dismiss(std::exchange(process_, 0), CallerTag::close);
  // One that was asked for, and came when nobody waited for it any more.
  Message message;
  while (inbox_->try_receive(message) == Status::ok) {
    wire::Reader reader(message.bytes());
    const Head head = read_head(reader);
    if (head.ok && head.operation == Operation::opened) dismiss(head.process, CallerTag::close);
    message.clear();
  }
}

}  // namespace penstock::python
