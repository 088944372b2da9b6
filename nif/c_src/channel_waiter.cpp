// SPDX-License-Identifier: Apache-2.0
#include "channel_waiter.hpp"

#include "atoms.hpp"

namespace penstock::nif {

ChannelWaiter::ChannelWaiter(Ref<Channel> channel, For what, const ErlNifPid& process,
                             ERL_NIF_TERM reference) noexcept
    : channel_(std::move(channel)),
      what_(what),
      process_(process),
      reference_(enif_make_copy(env_.get(), reference)) {}

ChannelWaiter::~ChannelWaiter() {
  // Not in line any more, because the line owned a reference. A process that was woken may have
  // dropped its last reference instead of looking.
  if (phase_.load(order::acquire("N2")) == kFired) pass_on();
}

bool ChannelWaiter::watch(ErlNifEnv* env) noexcept {
  ErlNifMonitor monitor;
  return enif_monitor_process(env, this, &process_, &monitor) == 0;
}

void ChannelWaiter::arm() noexcept {
  (void)Resource<ChannelWaiter>::borrow(this).take();  // The line's.
  phase_.store(kArmed, order::relaxed);                // Published by the line's lock.
  line().add(*this);
  // A process may be killed while it is on a dirty scheduler, and down() come before add().
  if (gone_.load(order::relaxed)) leave_line();
}

bool ChannelWaiter::withdraw() noexcept {
  if (!move(kArmed, kIdle)) return false;
  leave_line();
  return true;
}

bool ChannelWaiter::give_up() noexcept {
  if (!withdraw()) return false;
  // What did not fit for us may fit for the next one, who was behind us.
  if (what_ == For::space) pass_on();
  return true;
}

/// If it is unlinked already, fire() sees that it came too late, and another one is woken.
void ChannelWaiter::leave_line() noexcept {
  if (line().remove(*this)) (void)Resource<ChannelWaiter>::steal(this);
}

void ChannelWaiter::pass_on() noexcept {
  what_ == For::data ? channel_->pass_on_data() : channel_->pass_on_space();
}

void ChannelWaiter::down(const ErlNifPid& /*process*/) noexcept {
  gone_.store(true, order::relaxed);
  if (!give_up() && move(kFired, kIdle)) pass_on();
}

bool ChannelWaiter::fire() noexcept {
  // The line's reference, dropped last: it may be the last one.
  const Resource<ChannelWaiter> self = Resource<ChannelWaiter>::steal(this);
  if (!move(kArmed, kFired)) return false;
  const OwnedEnv env;
  const ERL_NIF_TERM reference = enif_make_copy(env.get(), reference_);
  const ERL_NIF_TERM message = enif_make_tuple2(env.get(), atoms().penstock_ready, reference);
  if (enif_send(nullptr, &process_, env.get(), message) != 0) return true;
  count(counters().dropped_sends);
  return !move(kFired, kIdle);  // Else down() was faster, and has passed it on.
}

WaitList& ChannelWaiter::line() const noexcept {
  return what_ == For::data ? channel_->data_waiters() : channel_->space_waiters();
}

}  // namespace penstock::nif
