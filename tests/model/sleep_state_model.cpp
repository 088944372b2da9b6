// SPDX-License-Identifier: Apache-2.0
#include "penstock/io_uring/sleep_state.hpp"

#include "cases.hpp"

namespace penstock::model {

namespace {

/// An event loop and what others put down for it. Everything relaxed: the state's edge must do.
class Loop {
 public:
  void put(int which) {
    box_[which].store(1, order::relaxed);
    if (!state_.rouse()) return;
    alarm_.store(1, order::relaxed);
    futex_wake(&alarm_, 1);
  }
  /// Sleeps until both of `box` are there. May look out once each time before it sleeps.
  void take(int count, bool looks_out) {
    for (;;) {
      state_.prepare();
      if (taken() == count) break;
      // A late alarm of the sleep before may end this one: then it is prepared once more.
      if (!(looks_out && state_.is_roused()) && state_.fall_asleep()) {
        while (alarm_.exchange(0, order::relaxed) == 0) futex_wait(alarm_, 0, kNoDeadline);
      }
      state_.end();
    }
    state_.end();
  }

 private:
  [[nodiscard]] int taken() const {
    return static_cast<int>(box_[0].load(order::relaxed) + box_[1].load(order::relaxed));
  }
  io_uring::SleepState state_;
  Atomic<std::uint32_t> alarm_{0};
  Atomic<std::uint32_t> box_[2] = {{0}, {0}};
};

/// The loop looks, goes to sleep, and two others have something for it meanwhile.
void never_sleeps_beside_something() {
  Loop loop;
  parallel([&] { loop.put(0); }, [&] { loop.put(1); }, [&] { loop.take(2, false); });
}

/// Likewise, and it looks out before.
void never_sleeps_after_a_lookout() {
  Loop loop;
  parallel([&] { loop.put(0); }, [&] { loop.put(1); }, [&] { loop.take(2, true); });
}

/// Of those who come while it sleeps, one rings.
void is_roused_once() {
  io_uring::SleepState state;
  state.prepare();
  require(state.fall_asleep(), "roused by nobody");
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  parallel([&] { first = state.rouse() ? 1 : 0; }, [&] { second = state.rouse() ? 1 : 0; });
  require(first + second == 1, "nobody or both");
  state.end();
  require(!state.rouse(), "roused while awake");
}

/// Who comes while it looks out need not ring, unless it falls asleep meanwhile.
void is_roused_from_a_lookout() {
  io_uring::SleepState state;
  state.prepare();
  std::uint64_t rings = 0;
  std::uint64_t sleeps = 0;
  parallel([&] { rings = state.rouse() ? 1 : 0; }, [&] { sleeps = state.fall_asleep() ? 1 : 0; });
  require(rings == sleeps, sleeps != 0 ? "sleeps on" : "rung for nothing");
  require(state.is_roused(), "nobody roused it");
}

constexpr Case kCases[] = {
    {"LoopNeverSleepsBesideSomething", never_sleeps_beside_something, {.limits = {2, 2}}},
    {"LoopNeverSleepsAfterALookout", never_sleeps_after_a_lookout, {.limits = {2, 2}}},
    {"LoopIsRousedOnce", is_roused_once, {}},
    {"LoopIsRousedFromALookout", is_roused_from_a_lookout, {}},
};

}  // namespace

std::span<const Case> sleep_state_cases() { return kCases; }

}  // namespace penstock::model
