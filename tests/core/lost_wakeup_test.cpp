// SPDX-License-Identifier: Apache-2.0
// A wake-up that gets lost stops a receiver for ever, once in a million sleeps, on a bad day.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <thread>

#include "penstock/channel.hpp"
#include "role.hpp"
#include "support.hpp"

namespace penstock {
namespace {

using test::scaled;
using Wake = ThreadWaiter::Wake;

/// A sleep this long was a lost wake-up if there was a message at its end.
constexpr std::int64_t kGuard_ns = 1'000'000'000;

std::uint64_t sleeps_of_this_thread() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return static_cast<std::uint64_t>(usage.ru_nvcsw);
}

/// Receives one message after the other, each by a wait, until it has slept that often.
void receive_asleep(Channel& channel, std::uint64_t sleeps) {
  ThreadWaiter me;
  std::uint64_t const before = sleeps_of_this_thread();
  while (sleeps_of_this_thread() - before < sleeps) {
    Message message;
    Wake wake{};
    Status status = Status::empty;
    for (int tries = 0; status == Status::empty && tries < 60; ++tries) {
      status = channel.receive(message, now_ns() + kGuard_ns, me, &wake);
      // At the end of the guard: was nobody to wake us, or did nobody?
      ASSERT_FALSE(status == Status::empty && channel.size() != 0) << "rescued";
    }
    ASSERT_EQ(status, Status::ok);
  }
}

/// Sends each message as soon as the receiver is in line: while it looks for the last time, while
/// it goes to sleep, or, after a short delay, while it sleeps.
void send_to_sleeper(Channel& channel, const std::atomic<bool>& enough) {
  test::Random random(1);
  for (std::uint64_t number = 0;; ++number) {
    for (unsigned turn = 0; channel.data_waiters().waiting() == 0; ++turn) {
      if (enough) return;
      spin_pause(turn);
    }
    for (std::uint64_t delay = random.below(4) == 0 ? 0 : random.below(60); delay > 0; --delay) {
      spin_pause(0);
    }
    Message message;
    ASSERT_TRUE(test::fill(message, 16, {0, number}));
    ASSERT_EQ(channel.try_send(message), Status::ok);
  }
}

void torture(std::uint64_t sleeps, int senders_processor) {
  const Ref<Channel> channel = Channel::create(0);
  channel->add_sender();
  std::atomic<bool> enough{false};
  std::jthread const sender([&] {
    const test::Pinned pinned(senders_processor);
    send_to_sleeper(*channel, enough);
  });
  const test::Pinned pinned(1);
  receive_asleep(*channel, sleeps);
  enough = true;
}

/// A process that believes to have one processor when it first asks does not spin before it sleeps;
/// so Channel::receive() sleeps whenever there is nothing.
TEST(LostWakeUpRole, DISABLED_ReceiverThatNeverSpins) {
  {
    const test::Pinned pinned(0);
    ASSERT_EQ(spin_limit_ns(), 0U);
  }
  std::uint64_t const sleeps = test::role_setting("SLEEPS");
  torture(sleeps, 1);       // On one processor, where every wait comes to a sleep.
  torture(sleeps / 16, 0);  // On two, where both are in the protocol at once.
}

TEST(LostWakeUp, NeverHappensInAMillionSleeps) {
  test::Role role("LostWakeUpRole.DISABLED_ReceiverThatNeverSpins",
                  {"SLEEPS=" + std::to_string(scaled(1'000'000))}, -1);
  EXPECT_TRUE(role.succeeded());
}

}  // namespace
}  // namespace penstock
