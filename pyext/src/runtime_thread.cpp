// SPDX-License-Identifier: Apache-2.0
#include "runtime_thread.hpp"

#include <vector>

#include "blocking.hpp"
#include "gil.hpp"
#include "interpreter.hpp"
#include "lent_bytes.hpp"
#include "os_thread.hpp"

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

void RuntimeThread::serve(PyThreadState* thread) {
  std::int64_t collection_ns = kNoDeadline;
  for (;;) {
    std::uint32_t const seen = requests_.load(order::acquire("K2"));
    deliver(thread);
    collection_ns = collect(thread, collection_ns);
    (void)futex_wait(requests_, seen, collection_ns);
  }
}

std::int64_t RuntimeThread::collect(PyThreadState* thread, std::int64_t due_ns) {
  if (due_ns == kNoDeadline) {
    return returned_bytes().is_told() ? now_ns() + kPatience_ns : kNoDeadline;
  }
  if (now_ns() < due_ns) return due_ns;
  const GilHold gil(thread);
  returned_bytes().collect();
  return kNoDeadline;
}

void RuntimeThread::request() noexcept {
  requests_.fetch_add(1, order::release("K2"));
  futex_wake(&requests_, 1);
}

void RuntimeThread::deliver(PyThreadState* thread) {
  std::vector<Ref<Target>> targets;
  {
    const std::lock_guard lock(mutex_);
    for (Target* target = targets_; target != nullptr; target = target->next) {
      targets.push_back(Ref<Target>::borrow(target));
    }
  }
  if (targets.empty()) return;
  const GilHold gil(thread);
  for (const Ref<Target>& target : targets) {
    Interruptible& interrupts = target->interrupts;
    // The thread takes its request itself when it is about to sleep; else it is taken here, and
    // then the interpreter raises it between two instructions.
    if (!parking().take_request(interrupts)) continue;
    const bool stopping = parking().is_stopping(interrupts);
    if (target->python == nullptr) continue;
    set_async_exception(target->python,
                        stopping ? state_->application_stopped : PyExc_KeyboardInterrupt);
    parking().wake(interrupts);
  }
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
