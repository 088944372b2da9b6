// SPDX-License-Identifier: Apache-2.0
#include "runtime_thread.hpp"

#include <algorithm>

#include "blocking.hpp"
#include "gil.hpp"
#include "interpreter.hpp"
#include "penstock/thread.hpp"

namespace penstock::python {

std::string RuntimeThread::start() {
  const auto body = [](void* self) -> void* {
    name_this_thread("python");
    static_cast<RuntimeThread*>(self)->run();
    return nullptr;
  };
  if (!start_thread(body, this)) return "no thread could be started";
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return is_started_; });
  return failure_;
}

std::string RuntimeThread::enter(PyInterpreterState* interpreter, ModuleState& state) {
  interpreter_ = interpreter;
  state_ = &state;
  const auto body = [](void* self) -> void* {
    name_this_thread("python helper");
    const auto runtime = Ref<RuntimeThread>::steal(static_cast<RuntimeThread*>(self));
    runtime->run_inside();
    return nullptr;
  };
  retain();  // The thread's own.
  if (start_thread(body, this)) return {};
  release();
  return "no thread could be started";
}

void RuntimeThread::leave() {
  {
    const std::lock_guard lock(mutex_);
    is_leaving_ = true;
  }
  request();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return has_left_; });
}

void RuntimeThread::run() {
  ModuleState* state = nullptr;
  std::string failure = start_interpreter(config_, state);
  PyThreadState* const thread = Py_IsInitialized() != 0 ? PyEval_SaveThread() : nullptr;
  const bool failed = !failure.empty();
  {
    const std::lock_guard lock(mutex_);
    state_ = state;
    failure_ = std::move(failure);
    is_started_ = true;
  }
  changed_.notify_all();
  if (!failed) serve(thread);
}

void RuntimeThread::run_inside() {
  PyThreadState* const thread = PyThreadState_New(interpreter_);
  // Without memory for it nobody is interrupted here, but the context works.
  if (thread != nullptr) {
    serve(thread);
    PyEval_RestoreThread(thread);
    PyThreadState_Clear(thread);
    PyThreadState_DeleteCurrent();
  }
  {
    const std::lock_guard lock(mutex_);
    has_left_ = true;
  }
  changed_.notify_all();
}

/// The main interpreter's never leaves.
void RuntimeThread::serve(PyThreadState* thread) {
  std::int64_t collection_ns = kNoDeadline;
  std::int64_t others_ns = kNoDeadline;
  std::int64_t again_ns = kNoDeadline;
  for (;;) {
    std::uint32_t const seen = home_->requests().load(order::acquire("K2"));
    if (is_leaving()) return;
    again_ns = deliver(thread, again_ns);
    collection_ns = collect(thread, collection_ns);
    others_ns = end_others(thread, others_ns);
    (void)futex_wait(home_->requests(), seen, std::min({collection_ns, others_ns, again_ns}));
  }
}

bool RuntimeThread::is_leaving() {
  const std::lock_guard lock(mutex_);
  return is_leaving_;
}

std::int64_t RuntimeThread::collect(PyThreadState* thread, std::int64_t due_ns) {
  if (due_ns == kNoDeadline) {
    return home_->is_told() ? now_ns() + kPatience_ns : kNoDeadline;
  }
  if (now_ns() < due_ns) return due_ns;
  const GilHold gil(thread);
  home_->collect();
  return kNoDeadline;
}

std::vector<Ref<Target>> RuntimeThread::targets() {
  std::vector<Ref<Target>> targets;
  const std::lock_guard lock(mutex_);
  for (Target* target = targets_; target != nullptr; target = target->next) {
    targets.push_back(Ref<Target>::borrow(target));
  }
  return targets;
}

/// A stop is delivered again and again: an exception that is raised inside of a finalizer, or of a
/// weak reference's callback, goes no further.
std::int64_t RuntimeThread::deliver(PyThreadState* thread, std::int64_t due_ns) {
  const std::vector<Ref<Target>> all = targets();
  if (all.empty()) return kNoDeadline;
  const bool is_due = due_ns != kNoDeadline && now_ns() >= due_ns;
  bool goes_on = false;
  const GilHold gil(thread);
  for (const Ref<Target>& target : all) {
    Interruptible& interrupts = target->interrupts;
    // The thread takes its request itself when it is about to sleep; else it is taken here, and
    // then the interpreter raises it between two instructions.
    const bool is_requested = parking().take_request(interrupts);
    const bool stopping = parking().is_stopping(interrupts);
    const bool is_late = stopping && parking().is_running(interrupts);
    goes_on = goes_on || is_late;
    if (!(is_requested || (is_late && is_due)) || target->python == nullptr) continue;
    set_async_exception(target->python,
                        stopping ? state_->application_stopped : PyExc_KeyboardInterrupt);
    parking().wake(interrupts);
  }
  if (!goes_on) return kNoDeadline;
  return due_ns == kNoDeadline || is_due ? now_ns() + kAgain_ns : due_ns;
}

std::int64_t RuntimeThread::end_others(PyThreadState* thread, std::int64_t due_ns) {
  const Interruptible* const others = home_->others();
  if (others == nullptr || !parking().is_stopping(*others)) return kNoDeadline;
  if (due_ns == kNoDeadline) return now_ns() + grace_ns_;
  if (now_ns() < due_ns) return due_ns;
  const std::vector<Ref<Target>> contexts = targets();
  const GilHold gil(thread);
  std::vector<unsigned long> running;
  for (PyThreadState* each = PyInterpreterState_ThreadHead(interpreter_); each != nullptr;
       each = PyThreadState_Next(each)) {
    const auto is_it = [&](const Ref<Target>& target) { return target->python == each; };
    if (each != thread && std::none_of(contexts.begin(), contexts.end(), is_it)) {
      running.push_back(each->thread_id);
    }
  }
  if (running.empty()) return kNoDeadline;
  for (const unsigned long python_id : running) {
    PyThreadState_SetAsyncExc(python_id, state_->application_stopped);
  }
  grace_ns_ *= 2;
  return now_ns() + grace_ns_;
}

void RuntimeThread::add(Target& target) {
  const std::lock_guard lock(mutex_);
  target.next = targets_;
  if (targets_ != nullptr) targets_->previous = &target;
  targets_ = &target;
}

void RuntimeThread::remove(Target& target) {
  const std::lock_guard lock(mutex_);
  if (target.next != nullptr) target.next->previous = target.previous;
  (target.previous != nullptr ? target.previous->next : targets_) = target.next;
}

}  // namespace penstock::python
