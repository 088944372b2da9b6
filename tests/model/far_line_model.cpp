// SPDX-License-Identifier: Apache-2.0
// Lines of waiters that cross processes: each process is a few threads with a list of its own.
#include "penstock/far_line.hpp"

#include "cases.hpp"
#include "penstock/shim.hpp"

namespace penstock::model {

namespace {

using Wake = ThreadWaiter::Wake;

/// What the processes share: the marks, a bell for each, and tokens to wait for.
struct Shared final : Bells {
  void ring(unsigned process) noexcept override {
    bells[process].fetch_add(1, order::release("test"));
    futex_wake(&bells[process], 1, Reach::machine);
  }
  Atomic<std::uint64_t> marks{0};
  Atomic<std::uint32_t> bells[3]{};
  Atomic<std::uint32_t> tokens{0};
  Atomic<std::uint32_t> has_ended{0};  // All waiting is over.
};

struct Process {
  Process(Shared& all, unsigned number) : shared(all), self(number), far(all, number, all.marks) {
    list.set_far(far);
  }

  /// Relaxed: the line's own edges must do.
  void put() {
    shared.tokens.fetch_add(1, order::relaxed);
    list.wake_one();
  }
  bool take() {
    std::uint32_t left = shared.tokens.load(order::relaxed);
    while (left != 0) {
      if (shared.tokens.compare_exchange_weak(left, left - 1, order::relaxed, order::relaxed)) {
        return true;
      }
    }
    return false;
  }
  bool is_over() const { return shared.has_ended.load(order::relaxed) != 0; }

  /// True: took one.
  bool wait(std::int64_t deadline_ns = kNoDeadline) {
    ThreadWaiter me;
    for (;;) {
      list.add(me);
      const bool taken = take();
      const bool more = shared.tokens.load(order::relaxed) != 0;
      const bool over = is_over();
      Wake wake = Wake::fired;
      if (!taken && !over) wake = me.park(deadline_ns);
      const bool fired = me.leave(list);
      if (taken || over || wake != Wake::fired) {
        // As a channel's receiver.
        if (fired || (taken && more && list.is_waited_for())) list.wake_one();
        return taken;
      }
    }
  }

  /// The thread that the others call, until stop().
  void listen() {
    for (;;) {
      std::uint32_t const heard = shared.bells[self].load(order::acquire("test"));
      if (is_stopped.load(order::relaxed) != 0) return;
      const bool is_called = far.answer(list);
      if (is_over()) {
        list.wake_all_near();
      } else if ((is_called || list.waiting_near() != 0) &&
                 shared.tokens.load(order::relaxed) != 0) {
        list.wake_one();
      }
      futex_wait(shared.bells[self], heard, kNoDeadline, Reach::machine);
    }
  }
  void stop() {
    is_stopped.store(1, order::relaxed);
    shared.ring(self);
  }

  Shared& shared;
  const unsigned self;
  FarLine far;
  WaitList list;
  Atomic<std::uint32_t> is_stopped{0};
};

template <unsigned Tokens>
void one_process_waits() {
  Shared shared;
  Process here(shared, 0);
  Process there(shared, 1);
  parallel(
      [&] {
        for (unsigned i = 0; i < Tokens; ++i) here.put();
      },
      [&] {
        for (unsigned i = 0; i < Tokens; ++i) require(there.wait(), "woken without a reason");
        there.stop();
      },
      [&] { there.listen(); });
}

void two_waiters_there() {
  Shared shared;
  Process here(shared, 0);
  Process there(shared, 1);
  Atomic<std::uint32_t> left{2};
  const auto wait = [&] {
    require(there.wait(), "woken without a reason");
    if (left.fetch_sub(1, order::acq_rel("test")) == 1) there.stop();
  };
  parallel(
      [&] {
        here.put();
        here.put();
      },
      wait, wait, [&] { there.listen(); });
}

/// Who waited in the one process has gone when it is called: the call is for the other one.
void passed_on() {
  Shared shared;
  Process here(shared, 0);
  Process gone(shared, 1);
  Process there(shared, 2);
  require(!gone.wait(now_ns()), "took a token that nobody put there");
  parallel([&] { here.put(); }, [&] { gone.listen(); },
           [&] {
             require(there.wait(), "woken without a reason");
             gone.stop();
             there.stop();
           },
           [&] { there.listen(); });
}

/// Whoever was called for goes at just that time: the call is for the other process.
void times_out_when_called() {
  Shared shared;
  Process here(shared, 0);
  Process leaves(shared, 1);
  Process there(shared, 2);
  parallel([&] { here.put(); },
           [&] {
             if (leaves.wait(now_ns() + 1)) leaves.put();
           },
           [&] { leaves.listen(); },
           [&] {
             require(there.wait(), "woken without a reason");
             leaves.stop();
             there.stop();
           },
           [&] { there.listen(); });
}

/// The token of the first call is gone when it is answered; the next one calls again.
void called_in_vain() {
  Shared shared;
  Process here(shared, 0);
  Process there(shared, 1);
  parallel(
      [&] {
        here.put();
        (void)here.take();
        here.put();
      },
      [&] {
        require(there.wait(), "woken without a reason");
        there.stop();
      },
      [&] { there.listen(); });
}

/// Through the list, or by the line alone, as a process does that forgets a channel.
template <bool ByList>
void all_wake_at_the_end() {
  Shared shared;
  Process here(shared, 0);
  Process there(shared, 1);
  Atomic<std::uint32_t> left{2};
  const auto wait = [&] {
    require(!there.wait(), "took a token that nobody put there");
    if (left.fetch_sub(1, order::acq_rel("test")) == 1) there.stop();
  };
  parallel(
      [&] {
        shared.has_ended.store(1, order::relaxed);
        if (ByList) {
          here.list.wake_all();
        } else {
          here.far.wake_all();
        }
      },
      wait, wait, [&] { there.listen(); });
}

constexpr Case kCases[] = {
    {"FarWaiterNeverSleepsThroughItsToken", one_process_waits<1>, {.limits = {2, 2}}},
    {"FarWaiterNeverSleepsThroughTwoTokens",
     one_process_waits<2>,
     {.limits = {2, 1}, .most_executions = 60'000, .random_executions = 20'000}},
    {"FarWaitersOfOneProcessAllWake",
     two_waiters_there,
     {.limits = {2, 1}, .most_executions = 60'000, .random_executions = 20'000}},
    {"FarCallForOneThatHasGoneIsPassedOn",
     passed_on,
     {.limits = {2, 1}, .most_executions = 60'000, .random_executions = 20'000}},
    {"FarCallForOneThatGoesIsPassedOn",
     times_out_when_called,
     {.limits = {2, 1}, .most_executions = 60'000, .random_executions = 60'000}},
    {"FarWaiterIsAnnouncedAgainWhenItsTokenIsGone", called_in_vain, {.limits = {2, 2}}},
    {"FarWaitersAllWakeWhenAProcessForgets",
     all_wake_at_the_end<false>,
     {.limits = {2, 1}, .most_executions = 60'000, .random_executions = 20'000}},
    {"FarWaitersAllWakeAtTheEnd",
     all_wake_at_the_end<true>,
     {.limits = {2, 1}, .most_executions = 60'000, .random_executions = 20'000}},
};

}  // namespace

std::span<const Case> far_line_cases() { return kCases; }

}  // namespace penstock::model
