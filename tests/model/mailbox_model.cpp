// SPDX-License-Identifier: Apache-2.0
#include "cases.hpp"
#include "payload.hpp"
#include "penstock/channel.hpp"
#include "penstock/waiter.hpp"

namespace penstock::model {

namespace {

using Wake = ThreadWaiter::Wake;

/// An event loop, as far as a mailbox sees it. Everything relaxed: the mailbox's own edges must do.
class Loop final : public Mailbox {
 public:
  /// Returns when something may have been posted since the last call.
  void sleep() {
    while (woken_.exchange(0, order::relaxed) == 0) futex_wait(woken_, 0, kNoDeadline);
  }

 private:
  void wake() noexcept override {
    woken_.store(1, order::relaxed);
    futex_wake(&woken_, 1);
  }
  Atomic<std::uint32_t> woken_{0};
};

/// A coroutine that waits; `value` is what it was fired for.
class Coroutine final : public MailboxWaiter {
 public:
  using MailboxWaiter::MailboxWaiter;
  int value = 0;
};

Ref<Mailbox> mailbox_of(const Ref<Loop>& loop) { return Ref<Mailbox>::borrow(loop.get()); }

/// Sleeps until `count` waiters were taken, and drops the reference that came with each.
template <class Each>
void take_until(Loop& loop, unsigned count, Each each) {
  for (unsigned taken = 0; taken < count;) {
    loop.sleep();
    MailboxWaiter* waiter = loop.take();
    while (waiter != nullptr) {
      MailboxWaiter* const next = Mailbox::next(*waiter);
      each(static_cast<Coroutine&>(*waiter));
      waiter->release();
      waiter = next;
      ++taken;
    }
  }
}

/// Two notifiers, two coroutines, one loop: each fired once, and the loop never sleeps on a post.
void posts_reach_the_loop() {
  const auto loop = Ref<Loop>::steal(new Loop);
  WaitList lists[2];
  Coroutine* waiters[2];
  for (int i = 0; i < 2; ++i) {
    waiters[i] = new Coroutine(mailbox_of(loop));
    lists[i].add(*waiters[i]);  // With the only reference.
  }
  const auto fire = [&](int which) {
    waiters[which]->value = 42;
    lists[which].wake_one();
  };
  parallel([&] { fire(0); }, [&] { fire(1); },
           [&] { take_until(*loop, 2, [](Coroutine& it) { require(it.value == 42, "stale"); }); });
}

/// One coroutine, fired twice: the loop hears of the second post while it takes the first.
void posts_again_while_taken() {
  const auto loop = Ref<Loop>::steal(new Loop);
  WaitList list;
  for (int i = 0; i < 2; ++i) list.add(*new Coroutine(mailbox_of(loop)));
  parallel(
      [&] {
        list.wake_one();
        list.wake_one();
      },
      [&] { take_until(*loop, 2, [](Coroutine&) {}); });
}

/// The loop ends while its coroutine is fired: posted, or refused and then the next in line is
/// woken.
void closed_while_posted() {
  const auto loop = Ref<Loop>::steal(new Loop);
  WaitList list;
  auto* const waiter = new Coroutine(mailbox_of(loop));
  list.add(*waiter);
  bool posted = false;
  ThreadWaiter second;
  list.add(second);
  parallel(
      [&] {
        waiter->value = 42;
        list.wake_one();
      },
      [&] {
        MailboxWaiter* const left = loop->close();
        require(loop->close() == nullptr && loop->take() == nullptr, "closed, then open again");
        if (left == nullptr) return;
        require(static_cast<Coroutine*>(left)->value == 42, "stale");
        posted = true;
        left->release();
      });
  const bool passed = second.leave(list);
  require(passed != posted, "a wake-up was lost or doubled");
}

// On a channel
// ----------------------------------------------------------------------------------------

Ref<Channel> open_channel() {
  Ref<Channel> channel = Channel::create(0);
  require(static_cast<bool>(channel), "no memory for a channel");
  channel->add_sender();
  return channel;
}

void send_one(Channel& channel, std::uint64_t number) {
  Message message;
  put(message, number);
  require(channel.try_send(message) == Status::ok, "try_send failed");
}

std::uint64_t receive(Channel& channel) {
  Message message;
  ThreadWaiter me;
  Wake woken{};
  require(channel.receive(message, kNoDeadline, me, &woken) == Status::ok, "gave up");
  return number_in(message);
}

/// What an event loop does for `await channel.receive()`.
std::uint64_t await_receive(Channel& channel, const Ref<Loop>& loop) {
  const auto me = Ref<Coroutine>::steal(new Coroutine(mailbox_of(loop)));
  for (;;) {
    me->retain();  // The list's.
    channel.data_waiters().add(*me);
    Message message;
    const Status status = channel.receive_or_wait(message);
    if (status == Status::empty) {
      take_until(*loop, 1, [](Coroutine&) {});
      continue;
    }
    require(status == Status::ok, "no message and no sender");
    if (channel.data_waiters().remove(*me)) {
      me->release();
    } else {
      take_until(*loop, 1, [](Coroutine&) {});
      channel.pass_on_data();
    }
    return number_in(message);
  }
}

void coroutine_and_thread() {
  const auto channel = open_channel();
  const auto loop = Ref<Loop>::steal(new Loop);
  std::uint64_t got[2] = {};
  parallel(
      [&] {
        send_one(*channel, 1);
        send_one(*channel, 2);
      },
      [&] { got[0] = await_receive(*channel, loop); }, [&] { got[1] = receive(*channel); });
  require(got[0] + got[1] == 3 && got[0] != got[1] && got[0] != 0, "lost or doubled");
  require(channel->data_waiters().waiting() == 0, "somebody is still in line");
}

/// Cancelled at any moment: in line, being fired, or fired.
void cancelled_coroutine() {
  const auto channel = open_channel();
  const auto loop = Ref<Loop>::steal(new Loop);
  parallel([&] { send_one(*channel, 1); },
           [&] {
             auto* const me = new Coroutine(mailbox_of(loop));
             channel->data_waiters().add(*me);
             if (channel->data_waiters().remove(*me)) {
               me->release();
             } else {
               take_until(*loop, 1, [](Coroutine&) {});
               channel->pass_on_data();
             }
           },
           [&] { require(receive(*channel) == 1, "lost"); });
  require(channel->data_waiters().waiting() == 0, "somebody is still in line");
}

/// The loop ends with a coroutine in line: what it is fired for goes to the next one.
void loop_ends_before_message() {
  const auto channel = open_channel();
  const auto loop = Ref<Loop>::steal(new Loop);
  auto* const waiter = new Coroutine(mailbox_of(loop));
  channel->data_waiters().add(*waiter);
  parallel([&] { send_one(*channel, 1); },
           [&] {
             if (MailboxWaiter* const left = loop->close()) {
               left->release();
               channel->pass_on_data();
             }
           },
           [&] { require(receive(*channel) == 1, "lost"); });
}

constexpr Case kCases[] = {
    {"MailboxBringsEachFiredWaiterOnce", posts_reach_the_loop, {.limits = {2, 2}}},
    {"MailboxWakesTheLoopForALatePost", posts_again_while_taken, {}},
    {"MailboxThatClosesGivesTheWakeUpToTheNext", closed_while_posted, {}},
    {"CoroutineAndThreadGetAMessageEach", coroutine_and_thread, {.limits = {2, 2}}},
    {"CoroutineThatIsCancelledLosesNothing", cancelled_coroutine, {.limits = {2, 2}}},
    {"LoopThatEndsLosesNothing", loop_ends_before_message, {.limits = {3, 2}}},
};

}  // namespace

std::span<const Case> mailbox_cases() { return kCases; }

}  // namespace penstock::model
