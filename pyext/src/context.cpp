// SPDX-License-Identifier: Apache-2.0
#include <sched.h>

#include <condition_variable>
#include <mutex>
#include <new>
#include <optional>
#include <string>

#include "executor.hpp"
#include "gil.hpp"
#include "own_interpreter.hpp"
#include "penstock/python/runtime.hpp"
#include "penstock/thread.hpp"
#include "request_source.hpp"
#include "runtime_thread.hpp"

namespace penstock::python {

/// What the thread and its Context share.
struct Context::Thread final : public Target {
  Thread(Ref<RuntimeThread> of, const Context& context, std::function<void()> at_exit)
      : runtime(std::move(of)),
        process(context.process_),
        requests(context.requests_),
        inbox(context.inbox_),
        on_exit(std::move(at_exit)) {}

  void run();
  void run_in_main();
  /// False: there was no interpreter to run in.
  bool run_in_own();
  void serve();
  /// What failed, or "".
  std::string await_start();
  void tell_start(std::string what_failed);
  /// The next request: false: there are no more. With `or_none` it does not wait, and may be empty.
  bool next(Message& request, bool or_none);
  Status try_next(Message& request);
  bool next_at_once(Message& request, bool or_none);
  bool wait_for_next(Message& request, bool or_none);
  void drop_queued();

  const Ref<RuntimeThread> runtime;
  const std::uint64_t process;
  const Ref<Channel> requests;
  const Ref<Channel> inbox;
  std::function<void()> on_exit;
  RequestSource* source = nullptr;
  std::int64_t has_gil_since_ns = 0;
  /// An interpreter's switch interval is ten times that.
  static constexpr std::int64_t kKeepGil_ns = 500'000;

  std::mutex start_mutex;  // Guards what follows.
  std::condition_variable start_changed;
  std::optional<std::string> start_failure;
};

namespace {

/// A Python thread state of its own for this thread, and the GIL, for a scope.
class PythonThread {
 public:
  PythonThread() : state_(PyGILState_Ensure()) {}
  ~PythonThread() { PyGILState_Release(state_); }
  PythonThread(const PythonThread&) = delete;
  PythonThread& operator=(const PythonThread&) = delete;

 private:
  PyGILState_STATE state_;
};

/// Interrupts can be delivered to this thread, for a scope. With the GIL.
class Reachable {
 public:
  explicit Reachable(Target& target) noexcept : target_(target) {
    target_.python = PyThreadState_Get();
  }
  ~Reachable() { target_.python = nullptr; }
  Reachable(const Reachable&) = delete;
  Reachable& operator=(const Reachable&) = delete;

 private:
  Target& target_;
};

}  // namespace

void Context::Thread::run() {
  set_this_context(&interrupts);
  if (runtime->home().is_main()) {
    run_in_main();
  } else if (!run_in_own()) {
    return;
  }
  runtime->remove(*this);
  drop_queued();
  if (on_exit) on_exit();
}

void Context::Thread::run_in_main() {
  const PythonThread attached;
  serve();
}

bool Context::Thread::run_in_own() {
  OwnInterpreter interpreter(*runtime);
  std::string failure = interpreter.start();
  const bool failed = !failure.empty();
  if (failed) {
    tell_start(std::move(failure));
    return false;
  }
  {
    const GilRelease released;
    tell_start({});
  }
  serve();
  Caller::forget_this_thread(runtime->state());
  drop_queued();  // Callers are not to wait for what else ends.
  interpreter.end();
  return true;
}

std::string Context::Thread::await_start() {
  std::unique_lock lock(start_mutex);
  start_changed.wait(lock, [this] { return start_failure.has_value(); });
  return *start_failure;
}

void Context::Thread::tell_start(std::string what_failed) {
  {
    const std::lock_guard lock(start_mutex);
    start_failure = std::move(what_failed);
  }
  start_changed.notify_all();
}

void Context::Thread::serve() {
  const Reachable reachable(*this);
  Executor executor(runtime->state(), interrupts, process, *requests, inbox);
  for (Message request;; request.reset()) {
    // One that begins with this request goes on after the next.
    const bool has_chains = executor.has_chains();
    if (!next(request, has_chains)) return;
    if (request.size() != 0) executor.execute(request);
    if (has_chains) executor.go_on();
  }
}

Status Context::Thread::try_next(Message& request) {
  return source != nullptr ? source->try_take(request) : requests->try_receive(request);
}

/// Keeps the GIL between requests, for as long as others would let it have it: giving it away and
/// taking it back costs more than a short request, or a hop of a chain.
bool Context::Thread::next_at_once(Message& request, bool or_none) {
  std::int64_t const now = now_ns();
  if (now - has_gil_since_ns > kKeepGil_ns) return false;
  const Status status = try_next(request);
  if (status != Status::ok && !(or_none && status == Status::empty)) return false;
  if (!parking().must_stop(&interrupts)) return true;
  request.clear();  // Dropped, a call answers.
  return false;
}

bool Context::Thread::next(Message& request, bool or_none) {
  if (next_at_once(request, or_none)) return true;
  const bool has_next = wait_for_next(request, or_none);
  has_gil_since_ns = now_ns();
  return has_next;
}

bool Context::Thread::wait_for_next(Message& request, bool or_none) {
  const GilRelease released;
  for (;;) {
    ThreadWaiter waiter;
    auto woken = ThreadWaiter::Wake::fired;
    const Status status = or_none ? try_next(request)
                          : source != nullptr
                              ? source->take(request)
                              : requests->receive(request, kNoDeadline, waiter, &woken);
    if (status == Status::closed || parking().is_stopping(interrupts)) return false;
    if (status == Status::empty && or_none) return true;
    if (status == Status::ok && !parking().must_stop(&interrupts)) return true;
    // The application stops, and this context will: nothing more begins. Dropped, a call answers.
    request.clear();
    // Out of memory: somebody else may free some.
    if (status == Status::out_of_memory) sched_yield();
  }
}

/// Calls that are dropped answer by themselves.
void Context::Thread::drop_queued() {
  inbox->close();
  for (Channel* const channel : {requests.get(), inbox.get()}) {
    Message request;
    while (channel->try_receive(request) == Status::ok) request.clear();
  }
}

/// Without a thread to run in; empty when memory ran out.
Ref<Context> Context::create(RuntimeThread& runtime, std::uint64_t process,
                             std::function<void()> on_exit) {
  auto context = Ref<Context>::steal(new (std::nothrow) Context);
  if (!context) return {};
  context->process_ = process;
  context->requests_ = Channel::create(0);
  context->inbox_ = Channel::create(0);
  if (!context->requests_ || !context->inbox_) return {};
  context->requests_->add_sender();
  context->thread_ =
      new (std::nothrow) Thread(Ref<RuntimeThread>::borrow(&runtime), *context, std::move(on_exit));
  if (context->thread_ == nullptr) return {};
  runtime.add(*context->thread_);
  return context;
}

Ref<Context> Context::adopt_this_thread(std::uint64_t process) {
  RuntimeThread* const main = runtime_thread();
  return main == nullptr ? Ref<Context>() : create(*main, process, {});
}

void Context::serve_here(RequestSource& source) {
  set_this_context(&thread_->interrupts);
  thread_->source = &source;
  thread_->serve();
  Caller::forget_this_thread(thread_->runtime->state());
  thread_->drop_queued();
  set_this_context(nullptr);
  thread_->runtime->remove(*thread_);
}

Ref<Context> Context::start(std::uint64_t process, std::function<void()> on_exit, Mode mode,
                            std::string* failure) {
  RuntimeThread* const main = runtime_thread();
  if (main == nullptr) return {};
  auto runtime = Ref<RuntimeThread>::borrow(main);
  if (mode == Mode::own_gil) {
    Ref<Home> home = Home::create();
    if (!home) return {};
    runtime = Ref<RuntimeThread>::steal(new (std::nothrow)
                                            RuntimeThread(main->config(), std::move(home)));
    if (!runtime) return {};
  }
  Ref<Context> context = create(*runtime, process, std::move(on_exit));
  if (!context) return {};
  const auto thread = Ref<Thread>::borrow(context->thread_);
  const auto body = [](void* argument) -> void* {
    name_this_thread("python context");
    const auto self = Ref<Thread>::steal(static_cast<Thread*>(argument));
    self->run();
    return nullptr;
  };
  thread->retain();  // The thread's own.
  if (start_thread(body, thread.get())) {
    if (mode == Mode::worker) return context;
    *failure = thread->await_start();
    if (failure->empty()) return context;
  } else {
    thread->release();
  }
  runtime->remove(*thread);
  return {};
}

Context::~Context() {
  if (thread_ == nullptr) return;
  stop();
  thread_->release();
}

Status Context::submit_nested(Message& request) noexcept {
  const Status status = inbox_->try_send(request);
  if (status != Status::ok) return status;
  // If the thread does not wait for Erlang any more it finds it behind what it does now. Refused:
  // the context stops, and what is in the inbox is dropped.
  Message look;
  wire::Writer writer(look);
  if (writer.tuple(1) && writer.integer(static_cast<std::int64_t>(Operation::look))) {
    (void)requests_->try_send(look);
  }
  return status;
}

void Context::interrupt(const Ref<Call>& only) noexcept {
  if (parking().interrupt(thread_->interrupts, only.get())) {
    thread_->runtime->request();
  } else if (only) {
    // A task of an event loop, between two of its steps.
    Message cancel;
    wire::Writer writer(cancel);
    if (writer.tuple(2) && writer.integer(static_cast<std::int64_t>(Operation::cancel)) &&
        writer.handle(wire::HandleKind::call, Ref<Object>::borrow(only.get()))) {
      (void)requests_->try_send(cancel);
    }
  }
}

void Context::stop() noexcept {
  requests_
      ->close();  // First: what comes later could only be dropped by the thread, which may end.
  parking().stop(thread_->interrupts);
  if (Interruptible* const others = thread_->runtime->home().others()) parking().stop(*others);
  thread_->runtime->request();
}

}  // namespace penstock::python
