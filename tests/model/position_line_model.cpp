// SPDX-License-Identifier: Apache-2.0
#include "penstock/position_line.hpp"

#include "cases.hpp"

namespace penstock::model {

namespace {

/// A position that grows, and a flag; relaxed: the line's own edges must do.
struct Progress {
  Atomic<std::uint64_t> position{0};
  Atomic<std::uint32_t> ended{0};
  PositionLine line;

  void advance(std::uint64_t to) {
    position.store(to, order::relaxed);
    line.advance(to);
  }
  void end() {
    ended.store(1, order::relaxed);
    line.wake_all();
  }
  void wait_for(std::uint64_t wanted) {
    const auto is_there = [&] { return position.load(order::relaxed) >= wanted; };
    wait(wanted, is_there);
  }
  template <class Ready>
  void wait(std::uint64_t wanted, Ready ready) {
    ThreadWaiter me;
    for (bool done = false; !done;) {
      line.waiters().add(me);
      line.want(wanted);
      done = ready();
      if (!done) (void)me.park(kNoDeadline);
      (void)me.leave(line.waiters());
    }
  }
};

void line_wakes_at_the_position() {
  Progress progress;
  parallel([&] { progress.wait_for(2); },
           [&] {
             progress.advance(1);
             progress.advance(2);
           });
}

void line_of_two_wakes_both() {
  Progress progress;
  parallel([&] { progress.wait_for(1); }, [&] { progress.wait_for(2); },
           [&] {
             progress.advance(1);
             progress.advance(2);
           });
}

/// Who wakes all forgets what was wanted, of those only whom it wakes.
void line_remembers_who_comes_while_all_are_woken() {
  Progress progress;
  parallel([&] { progress.wait_for(2); },
           [&] { progress.wait(3, [&] { return progress.ended.load(order::relaxed) != 0; }); },
           [&] { progress.end(); }, [&] { progress.advance(2); });
}

constexpr Case kCases[] = {
    {"LineWakesAtThePosition", line_wakes_at_the_position, {}},
    {"LineOfTwoWakesBoth", line_of_two_wakes_both, {.limits = {2, 1}}},
    {"LineRemembersWhoComesWhileAllAreWoken",
     line_remembers_who_comes_while_all_are_woken,
     {.limits = {2, 2}, .most_executions = 60'000}},
};

}  // namespace

std::span<const Case> position_line_cases() { return kCases; }

}  // namespace penstock::model
