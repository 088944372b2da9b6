// SPDX-License-Identifier: Apache-2.0
#include <sched.h>

#include <new>

#include "executor.hpp"
#include "gil.hpp"
#include "os_thread.hpp"
#include "penstock/python/runtime.hpp"
#include "runtime_thread.hpp"

namespace penstock::python {

/// What the thread and its Context share.
struct Context::Thread final : public Target {
  Thread(RuntimeThread& of, Ref<Channel> channel, std::function<void()> at_exit)
      : runtime(of), requests(std::move(channel)), on_exit(std::move(at_exit)) {}

  void run();
  void serve();
  /// The next request: false: there are no more.
  bool next(Message& request);
  void drop_queued();

  RuntimeThread& runtime;
  const Ref<Channel> requests;
  std::function<void()> on_exit;
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

}  // namespace

void Context::Thread::run() {
  set_this_context(&interrupts);
  serve();
  runtime.remove(*this);
  drop_queued();
  if (on_exit) on_exit();
}

void Context::Thread::serve() {
  const PythonThread python;
  python_id = PyThreadState_Get()->thread_id;
  Executor executor(runtime.state(), interrupts);
  for (;;) {
    Message request;
    if (!next(request)) return;
    executor.execute(request);
  }
}

bool Context::Thread::next(Message& request) {
  const GilRelease released;
  for (;;) {
    ThreadWaiter waiter;
    auto woken = ThreadWaiter::Wake::fired;
    const Status status = requests->receive(request, kNoDeadline, waiter, &woken);
    if (status == Status::closed || parking().is_stopping(interrupts)) return false;
    if (status == Status::ok && !parking().must_stop(&interrupts)) return true;
    // The application stops, and this context will: nothing more begins. Dropped, a call answers.
    request.clear();
    // Out of memory: somebody else may free some.
    if (status == Status::out_of_memory) sched_yield();
  }
}

/// Calls that are dropped answer by themselves.
void Context::Thread::drop_queued() {
  for (;;) {
    Message request;
    if (requests->try_receive(request) != Status::ok) return;
  }
}

Ref<Context> Context::start(std::function<void()> on_exit) {
  RuntimeThread* const runtime = runtime_thread();
  Ref<Channel> requests = runtime == nullptr ? Ref<Channel>() : Channel::create(0);
  if (!requests) return {};
  requests->add_sender();
  auto context = Ref<Context>::steal(new (std::nothrow) Context);
  auto thread =
      Ref<Thread>::steal(new (std::nothrow) Thread(*runtime, requests, std::move(on_exit)));
  if (!context || !thread) return {};
  context->requests_ = std::move(requests);
  context->thread_ = Ref<Thread>(thread).take();

  runtime->add(*thread);
  const auto body = [](void* argument) -> void* {
    name_this_thread("python context");
    const auto self = Ref<Thread>::steal(static_cast<Thread*>(argument));
    self->run();
    return nullptr;
  };
  thread->retain();  // The thread's own.
  if (start_thread(body, thread.get())) return context;
  thread->release();
  runtime->remove(*thread);
  return {};
}

Context::~Context() {
  if (thread_ == nullptr) return;
  stop();
  thread_->release();
}

void Context::interrupt(const Ref<Call>& only) noexcept {
  if (parking().interrupt(thread_->interrupts, only.get())) thread_->runtime.request();
}

void Context::stop() noexcept {
  requests_
      ->close();  // First: what comes later could only be dropped by the thread, which may end.
  parking().stop(thread_->interrupts);
  thread_->runtime.request();
}

}  // namespace penstock::python
