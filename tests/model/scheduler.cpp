// SPDX-License-Identifier: Apache-2.0
#include "scheduler.hpp"

#include <algorithm>

#include "engine.hpp"

namespace penstock::model {

namespace {

constexpr std::int64_t kStart_ns = 1'000'000'000;
constexpr unsigned kMain = 0;

constexpr unsigned bit(unsigned thread) { return 1U << thread; }

}  // namespace

Scheduler::Scheduler(Arena& arena, WeakMemory& memory, Decisions& decisions)
    : arena_(arena), memory_(memory), decisions_(decisions) {}

// Life of threads
// ------------------------------------------------------------------------------------

void Scheduler::run(void (*body)()) {
  for (Thread& thread : threads_) thread.state = State::unused;
  thread_count_ = 1;
  alive_ = current_ = asleep_ = preemptions_ = 0;
  pruned_ = starting_ = has_died_ = false;
  mortal_ = kMaxThreads;
  steps_ = line_ = 0;
  clock_ns_ = kStart_ns;
  Thread& main = threads_[kMain];
  main.state = State::ready;
  main.body = reinterpret_cast<void (*)(void*)>(body);
  main.looks = 0;
  main.fiber.start(arena_.stack(kMain), Arena::kStackBytes, &enter_main);
  Fiber::transfer(host_, main.fiber);
}

void Scheduler::stop() {
  Fiber::transfer(threads_[current_].fiber, host_);
  __builtin_unreachable();
}

void Scheduler::enter_main() {
  Scheduler& self = active->scheduler;
  reinterpret_cast<void (*)()>(self.threads_[kMain].body)();
  self.threads_[kMain].state = State::ended;
  self.stop();
}

void Scheduler::enter_thread() {
  Scheduler& self = active->scheduler;
  const unsigned me = self.current_;
  self.threads_[me].body(self.threads_[me].argument);
  self.end(me);
  if (self.starting_) {  // It had no step at all.
    self.starting_ = false;
    self.current_ = kMain;
    Fiber::transfer(self.threads_[me].fiber, self.threads_[kMain].fiber);
  }
  self.reschedule();
}

void Scheduler::end(unsigned thread) {
  threads_[thread].state = State::ended;
  --alive_;
  if (mortal_ == thread) mortal_ = kMaxThreads;
  wake(&threads_[thread], static_cast<int>(kMaxThreads));
}

void Scheduler::may_die() {
  if (has_died_ || mortal_ != kMaxThreads) fail("only one process may die");
  mortal_ = current_;
  memory_.begin_losses(current_);
}

void Scheduler::die() {
  has_died_ = true;
  memory_.lose_what_was_not_ordered();
  end(current_);
  reschedule();
}

void Scheduler::await_end(unsigned thread) {
  Thread& it = threads_[thread];
  before(Step::load, &it);
  while (it.state != State::ended) sleep(&it, kNoDeadline);
  memory_.join_thread(thread, current_);
}

void Scheduler::spawn(void (*body)(void*), void* argument) {
  unsigned child = 1;
  while (child < kMaxThreads && threads_[child].state != State::unused) ++child;
  if (child == kMaxThreads) fail("too many threads for the explorer");
  thread_count_ = std::max(thread_count_, child + 1);
  ++alive_;
  Thread& thread = threads_[child];
  thread.state = State::ready;
  thread.step = Step::none;
  thread.body = body;
  thread.argument = argument;
  thread.looks = 0;
  memory_.start_thread(child, kMain);
  thread.fiber.start(arena_.stack(child), Arena::kStackBytes, &enter_thread);
  starting_ = true;
  current_ = child;
  Fiber::transfer(threads_[kMain].fiber, thread.fiber);
}

void Scheduler::join_all() {
  asleep_ = 0;
  threads_[kMain].state = State::joining;
  if (alive_ != 0) reschedule();
  threads_[kMain].state = State::ready;
  for (unsigned thread = 1; thread < thread_count_; ++thread) {
    memory_.join_thread(thread, kMain);
    threads_[thread].state = State::unused;
  }
}

// Choosing
// -------------------------------------------------------------------------------------------

void Scheduler::before(Step step, const void* address) {
  if (++steps_ > kMostSteps) fail("livelock: an execution without end");
  if (alive_ == 0) return;
  Thread& self = threads_[current_];
  self.step = step;
  self.address = address;
  if (starting_) {
    starting_ = false;
    current_ = kMain;
    Fiber::transfer(self.fiber, threads_[kMain].fiber);
    return;
  }
  if (current_ == kMain) return;  // Only spawns; the others have not begun.
  if (current_ == mortal_ && decisions_.choose_death()) die();
  reschedule();
}

bool Scheduler::times_out(unsigned thread) const {
  return threads_[thread].state == State::sleeping && threads_[thread].deadline_ns != kNoDeadline;
}

bool Scheduler::can_go_on(unsigned thread) const {
  const Thread& it = threads_[thread];
  switch (it.state) {
    case State::ready:
      return true;
    case State::sleeping:
      return it.deadline_ns != kNoDeadline;
    case State::paused:
      return it.since != memory_.progress();
    case State::joining:
      return alive_ == 0;
    case State::unused:
    case State::ended:
      return false;
  }
  return false;
}

bool Scheduler::are_independent(const Thread& a, const Thread& b) {
  const auto local = [](Step step) { return step == Step::none; };
  const auto writes = [](Step step) { return step == Step::store; };
  if (a.step == Step::timeout || b.step == Step::timeout) return false;  // Both see the clock.
  if (local(a.step) || local(b.step)) return true;
  if (a.step == Step::fence || b.step == Step::fence) return a.step != b.step;
  if (a.step == Step::pause || b.step == Step::pause) return !writes(a.step) && !writes(b.step);
  if (a.address != b.address) return true;
  return a.step == Step::load && b.step == Step::load;
}

/// The running thread first: choice 0 is to go on without a switch.
unsigned Scheduler::candidates(unsigned (&list)[kMaxThreads]) {
  unsigned count = 0;
  const bool goes_on = can_go_on(current_) && !times_out(current_);
  const bool may_preempt = preemptions_ < decisions_.limits().preemptions;
  unsigned ready = 0;
  unsigned able = 0;
  for (unsigned thread = 0; thread < thread_count_; ++thread) {
    if (!can_go_on(thread)) continue;
    able |= bit(thread);
    if (!times_out(thread)) ready |= bit(thread);
  }
  if (able == 0) fail("deadlock: every thread sleeps, and none can wake another");
  if (goes_on && (asleep_ & bit(current_)) == 0) list[count++] = current_;
  if (goes_on && !may_preempt) return count;
  for (unsigned thread = 0; thread < thread_count_; ++thread) {
    if ((able & ~asleep_ & bit(thread)) == 0 || (thread == current_ && goes_on)) continue;
    // To time out while others could run takes a long delay of theirs: as rare as a preemption.
    if ((ready & bit(thread)) == 0 && ready != 0 && !may_preempt) continue;
    list[count++] = thread;
  }
  return count;
}

void Scheduler::reschedule() {
  unsigned list[kMaxThreads];
  const unsigned count = candidates(list);
  if (count == 0) {
    pruned_ = true;
    stop();
  }
  choose_from(list, count);
}

void Scheduler::choose_from(const unsigned (&list)[kMaxThreads], unsigned count) {
  const unsigned choice = decisions_.choose_thread(count);
  const unsigned chosen = list[choice];
  if (times_out(chosen)) {
    bool others = false;
    for (unsigned thread = 0; thread < thread_count_; ++thread) {
      others |= can_go_on(thread) && !times_out(thread);
    }
    preemptions_ += others ? 1 : 0;
  } else if (chosen != current_ && can_go_on(current_) && !times_out(current_)) {
    ++preemptions_;
  }
  if (!decisions_.is_random() && decisions_.limits().prunes) {
    unsigned earlier = asleep_;
    for (unsigned i = 0; i < choice; ++i) earlier |= bit(list[i]);
    asleep_ = 0;
    for (unsigned thread = 0; thread < thread_count_; ++thread) {
      if ((earlier & bit(thread)) != 0 && thread != chosen &&
          are_independent(threads_[thread], threads_[chosen])) {
        asleep_ |= bit(thread);
      }
    }
  }
  resume(chosen);
}

void Scheduler::resume(unsigned thread) {
  Thread& next = threads_[thread];
  if (next.state == State::sleeping) {  // Chosen to time out.
    clock_ns_ = std::max(clock_ns_, next.deadline_ns);
    next.state = State::ready;
  } else if (next.state == State::paused) {
    next.state = State::ready;
  }
  const unsigned previous = current_;
  current_ = thread;
  if (thread != previous) Fiber::transfer(threads_[previous].fiber, next.fiber);
}

// Sleeping and spinning
// ------------------------------------------------------------------------------

void Scheduler::sleep(const void* address, std::int64_t deadline_ns) {
  if (deadline_ns <= clock_ns_) return;
  Thread& self = threads_[current_];
  self.state = State::sleeping;
  self.step = deadline_ns == kNoDeadline ? Step::none : Step::timeout;
  self.address = address;
  self.deadline_ns = deadline_ns;
  self.since = ++line_;
  reschedule();
}

unsigned Scheduler::wake(const void* address, int count) {
  unsigned woken = 0;
  for (; count > 0; --count) {
    Thread* first = nullptr;
    for (unsigned thread = 0; thread < thread_count_; ++thread) {
      Thread& it = threads_[thread];
      if (it.state != State::sleeping || it.address != address) continue;
      if (first == nullptr || it.since < first->since) first = &it;
    }
    if (first == nullptr) break;
    first->state = State::ready;
    first->step = Step::none;
    const auto thread = static_cast<unsigned>(first - threads_);
    asleep_ &= ~bit(thread);
    woken |= bit(thread);
  }
  return woken;
}

void Scheduler::looked_at(WeakMemory::Look look) {
  Thread& self = threads_[current_];
  self.looked[self.looks++ % kRemembered] = look;
}

void Scheduler::pause() {
  if (alive_ == 0) fail("deadlock: the only thread left spins");
  if (++steps_ > kMostSteps) fail("livelock: an execution without end");
  Thread& self = threads_[current_];
  const unsigned looks = std::min(self.looks, kRemembered);
  self.looks = 0;
  if (!memory_.refresh(current_, self.looked, looks)) {
    self.step = Step::pause;
    self.address = nullptr;
    if (starting_) {
      starting_ = false;
      const unsigned me = current_;
      current_ = kMain;
      Fiber::transfer(threads_[me].fiber, threads_[kMain].fiber);
    }
    self.since = memory_.progress();
    self.state = State::paused;
    reschedule();
    memory_.refresh(current_, self.looked, looks);
  }
}

}  // namespace penstock::model
