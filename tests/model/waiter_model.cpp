// SPDX-License-Identifier: Apache-2.0
#include "penstock/waiter.hpp"

#include "cases.hpp"
#include "penstock/shim.hpp"

namespace penstock::model {

namespace {

using Wake = ThreadWaiter::Wake;

/// A condition to wait for: tokens that waiters take, one each.
struct Tokens {
  Atomic<std::uint32_t> count{0};
  WaitList list;
  int before_put = 0;

  /// Relaxed: the list's own edges must do.
  void put() {
    count.fetch_add(1, order::relaxed);
    list.wake_one();
  }
  bool take() {
    std::uint32_t left = count.load(order::relaxed);
    while (left != 0) {
      if (count.compare_exchange_weak(left, left - 1, order::relaxed, order::relaxed)) return true;
    }
    return false;
  }
  /// True: took one. False: woken for the given other reason.
  bool wait(ThreadWaiter& me, std::int64_t deadline_ns, Wake* woken) {
    for (;;) {
      list.add(me);
      const bool taken = take();
      Wake wake = Wake::fired;
      if (!taken) wake = me.park(deadline_ns);
      const bool fired = me.leave(list);
      if (taken || wake != Wake::fired) {
        if (fired) list.wake_one();
        WaitList::forget_place(me);
        *woken = wake;
        return taken;
      }
    }
  }
  void wait() {
    ThreadWaiter me;
    Wake woken{};
    require(wait(me, kNoDeadline, &woken), "woken without a reason");
  }
};

template <unsigned Tokens_>
void one_waiter() {
  Tokens tokens;
  parallel(
      [&] {
        for (unsigned i = 0; i < Tokens_; ++i) tokens.put();
      },
      [&] {
        for (unsigned i = 0; i < Tokens_; ++i) tokens.wait();
      });
  require(tokens.list.waiting() == 0, "somebody is still in line");
}

void two_waiters_one_notifier() {
  Tokens tokens;
  parallel(
      [&] {
        tokens.put();
        tokens.put();
      },
      [&] { tokens.wait(); }, [&] { tokens.wait(); });
  require(tokens.list.waiting() == 0, "somebody is still in line");
}

void two_waiters_two_notifiers() {
  Tokens tokens;
  parallel([&] { tokens.put(); }, [&] { tokens.put(); }, [&] { tokens.wait(); },
           [&] { tokens.wait(); });
}

/// Whoever times out with a wake-up in hand gives it to the next one.
void timed_out() {
  Tokens tokens;
  parallel([&] { tokens.put(); },
           [&] {
             ThreadWaiter me;
             Wake woken{};
             if (tokens.wait(me, now_ns() + 1, &woken)) {
               tokens.put();
             } else {
               require(woken == Wake::timeout, "woken without a reason");
             }
           },
           [&] { tokens.wait(); });
}

/// Same for an interrupt, which stays until the waiter's owner clears it away.
void interrupted() {
  Tokens tokens;
  ThreadWaiter first;
  parallel([&] { tokens.put(); }, [&] { first.interrupt(); },
           [&] {
             Wake woken{};
             if (tokens.wait(first, kNoDeadline, &woken)) {
               tokens.put();
             } else {
               require(woken == Wake::interrupted && first.interrupted(), "woken without reason");
             }
           },
           [&] { tokens.wait(); });
  require(first.interrupted(), "an interrupt was lost");
}

/// What the notifier did before is visible to the one who was fired or interrupted.
void fire_publishes() {
  WaitList list;
  ThreadWaiter me;
  int before_fire = 0;
  int before_interrupt = 0;
  list.add(me);
  parallel(
      [&] {
        before_fire = 1;
        list.wake_one();
      },
      [&] {
        const Wake wake = me.park(kNoDeadline);
        if (wake == Wake::fired) require(before_fire == 1, "stale");
        if (me.leave(list)) require(before_fire == 1, "stale");
      },
      [&] {
        before_interrupt = 1;
        me.interrupt();
      });
  require(me.park(kNoDeadline) == Wake::interrupted && before_interrupt == 1, "not interrupted");
}

/// Left without parking: the wake-up may be on its way, and its last touch must be waited for
/// before the waiter's memory becomes something else.
void leave_while_fired() {
  WaitList list;
  int before_fire = 0;
  parallel(
      [&] {
        auto* const me = new ThreadWaiter;
        list.add(*me);
        if (me->leave(list)) require(before_fire == 1, "stale");
        delete me;
      },
      [&] {
        before_fire = 1;
        list.wake_one();
      });
}

/// Interrupted while another thread waits for the interrupt's effects only.
void interrupt_publishes() {
  ThreadWaiter me;
  int before = 0;
  parallel(
      [&] {
        before = 1;
        me.interrupt();
      },
      [&] {
        require(me.park(kNoDeadline) == Wake::interrupted, "woken without a reason");
        require(before == 1, "stale");
      },
      [&] {
        if (me.interrupted()) require(before == 1, "stale");
      });
}

void wake_all_reaches_everybody() {
  Atomic<std::uint32_t> ended{0};
  WaitList list;
  const auto wait = [&] {
    ThreadWaiter me;
    for (;;) {
      list.add(me);
      const bool over = ended.load(order::relaxed) == 1;
      if (!over) (void)me.park(kNoDeadline);
      (void)me.leave(list);
      if (over) return;
    }
  };
  parallel(
      [&] {
        ended.store(1, order::relaxed);
        list.wake_all();
      },
      wait, wait);
}

constexpr Case kCases[] = {
    {"WaiterNeverSleepsThroughItsToken", one_waiter<2>, {}},
    {"WaitersOfOneNotifierAllWake", two_waiters_one_notifier, {.limits = {2, 2}}},
    {"WaitersOfTwoNotifiersAllWake",
     two_waiters_two_notifiers,
     {.limits = {2, 1}, .most_executions = 60'000, .random_executions = 20'000}},
    {"WaiterThatTimesOutPassesItsWakeUpOn", timed_out, {.limits = {2, 2}}},
    {"WaiterThatIsInterruptedPassesItsWakeUpOn",
     interrupted,
     {.limits = {2, 1}, .most_executions = 60'000, .random_executions = 20'000}},
    {"WaiterSeesWhatItsNotifierDid", fire_publishes, {}},
    {"WaiterLeavesOnlyAfterItsNotifiersLastTouch", leave_while_fired, {}},
    {"WaiterSeesWhatItsInterrupterDid", interrupt_publishes, {}},
    {"WaitersAllWakeAtTheEnd", wake_all_reaches_everybody, {.limits = {2, 2}}},
};

}  // namespace

std::span<const Case> waiter_cases() { return kCases; }

}  // namespace penstock::model
