// SPDX-License-Identifier: Apache-2.0
#include "process_waiter.hpp"

#include "atoms.hpp"

namespace penstock::nif {

ProcessWaiter::ProcessWaiter(Ref<Object> owner, WaitList& line, For what, const ErlNifPid& process,
                             ERL_NIF_TERM reference) noexcept
    : owner_(std::move(owner)),
      line_(line),
      what_(what),
      process_(process),
      reference_(enif_make_copy(env_.get(), reference)) {}

ProcessWaiter::~ProcessWaiter() {
  // Not in line any more, because the line owned a reference. A process that was woken may have
  // dropped its last reference instead of looking.
  if (phase_.load(order::acquire("N2")) == kFired) pass_on();
}

bool ProcessWaiter::watch(ErlNifEnv* env) noexcept {
  ErlNifMonitor monitor;
  return enif_monitor_process(env, this, &process_, &monitor) == 0;
}

void ProcessWaiter::arm() noexcept {
  (void)Resource<ProcessWaiter>::borrow(this).take();  // The line's.
  phase_.store(kArmed, order::relaxed);                // Published by the line's lock.
  line_.add(*this);
  // A process may be killed while it is on a dirty scheduler, and down() come before add().
  if (gone_.load(order::relaxed)) leave_line();
}

bool ProcessWaiter::withdraw() noexcept {
  if (!move(kArmed, kIdle)) return false;
  leave_line();
  return true;
}

bool ProcessWaiter::give_up() noexcept {
  if (!withdraw()) return false;
  // What did not fit for us may fit for the next one, who was behind us.
  if (what_ != For::message) pass_on();
  return true;
}

/// If it is unlinked already, fire() sees that it came too late, and another one is woken.
void ProcessWaiter::leave_line() noexcept {
  if (line_.remove(*this)) (void)Resource<ProcessWaiter>::steal(this);
}

void ProcessWaiter::down(const ErlNifPid& /*process*/) noexcept {
  gone_.store(true, order::relaxed);
  if (!give_up() && move(kFired, kIdle)) pass_on();
}

bool ProcessWaiter::fire() noexcept {
  // The line's reference, dropped last: it may be the last one.
  const Resource<ProcessWaiter> self = Resource<ProcessWaiter>::steal(this);
  if (!move(kArmed, kFired)) return false;
  const OwnedEnv env;
  const ERL_NIF_TERM reference = enif_make_copy(env.get(), reference_);
  const ERL_NIF_TERM message = enif_make_tuple2(env.get(), atoms().penstock_ready, reference);
  if (enif_send(nullptr, &process_, env.get(), message) != 0) return true;
  count(counters().dropped_sends);
  return !move(kFired, kIdle);  // Else down() was faster, and has passed it on.
}

}  // namespace penstock::nif
