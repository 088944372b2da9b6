// SPDX-License-Identifier: Apache-2.0
#include "waiting.hpp"

#include <memory>
#include <utility>

#include "atoms.hpp"
#include "guard.hpp"
#include "nifs.hpp"
#include "scratch.hpp"

namespace penstock::nif {

namespace {

ErlNifPid self(ErlNifEnv* env) noexcept {
  ErlNifPid pid{};
  (void)enif_self(env, &pid);
  return pid;
}

}  // namespace

Channel& channel_of(const ProcessWaiter& waiter) noexcept {
  return static_cast<Channel&>(waiter.owner());
}

Resource<ProcessWaiter> wait_in_line(ErlNifEnv* env, Ref<Object> owner, WaitList& line,
                                     ProcessWaiter::For what, ERL_NIF_TERM reference) {
  if (enif_is_ref(env, reference) == 0) throw BadArg();
  auto waiter = Resource<ProcessWaiter>::make(std::move(owner), line, what, self(env), reference);
  if (waiter->watch(env)) waiter->arm();
  return waiter;
}

ProcessWaiter& own_waiter(ErlNifEnv* env, ERL_NIF_TERM term, ProcessWaiter::For what) {
  ProcessWaiter* const waiter = Resource<ProcessWaiter>::get(env, term);
  if (waiter == nullptr || !waiter->belongs_to(self(env)) || waiter->what() != what ||
      waiter->is_armed()) {
    throw BadArg();
  }
  return *waiter;
}

ERL_NIF_TERM wait_result(ErlNifEnv* env, ProcessWaiter& waiter) noexcept {
  return enif_make_tuple2(env, atoms().wait, enif_make_resource(env, &waiter));
}

Woken finish(ProcessWaiter& waiter) noexcept {
  if (waiter.withdraw()) return Woken::no;
  // The wake-up may have been for somebody else's message, or for more room than was needed.
  waiter.looked();
  waiter.pass_on();
  return Woken::yes;
}

ERL_NIF_TERM receive_in_line(ErlNifEnv* env, ProcessWaiter& waiter) {
  Channel& channel = channel_of(waiter);
  std::unique_ptr<Message>& message = per_thread<Scratch>().message;
  const Status status = channel.receive_or_wait(*message);
  if (status == Status::empty) return wait_result(env, waiter);
  const Woken woken = finish(waiter);
  if (status != Status::ok) return wrap(env, woken, receive_error(env, status));
  return channel.content() == Channel::Content::bytes ? deliver_bytes(env, message, woken)
                                                      : deliver(env, message, woken);
}

ERL_NIF_TERM send_in_line(ErlNifEnv* env, ProcessWaiter& waiter, Message& message) {
  const Status status = channel_of(waiter).try_send(message);
  if (status == Status::full) return wait_result(env, waiter);
  return wrap(env, finish(waiter), send_result(env, status));
}

ERL_NIF_TERM channel_receive_again(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  ProcessWaiter& waiter = own_waiter(env, argv[0], ProcessWaiter::For::message);
  if (copies_too_much(channel_of(waiter))) {
    return continue_dirty<channel_receive_again, 1>(env, "channel_receive_again", argv);
  }
  waiter.looked();
  waiter.arm();
  return receive_in_line(env, waiter);
}

ERL_NIF_TERM cancel_wait(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  ProcessWaiter* const waiter = Resource<ProcessWaiter>::get(env, argv[0]);
  if (waiter == nullptr || !waiter->belongs_to(self(env)) || waiter->is_idle()) throw BadArg();
  if (waiter->give_up()) return atoms().cancelled;
  waiter->looked();
  waiter->pass_on();
  return atoms().fired;
}

}  // namespace penstock::nif
