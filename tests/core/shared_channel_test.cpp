// SPDX-License-Identifier: Apache-2.0
// Channels that processes share, with several "processes" in this one.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

#include "penstock/bytes.hpp"
#include "shared_processes.hpp"
#include "support.hpp"

namespace penstock {
namespace {

using test::header_of;
using test::memory_of;
using test::Processes;
using test::producer_in;
using test::soon;
using test::until_waiting_near;
using Content = Channel::Content;

Status send(Channel& channel, std::int64_t number, std::int64_t deadline_ns = 0) {
  Message message;
  wire::Writer writer(message);
  EXPECT_TRUE(writer.tuple(2) && writer.atom_word(7) && writer.integer(number));
  if (deadline_ns == 0) return channel.try_send(message);
  ThreadWaiter me;
  ThreadWaiter::Wake wake{};
  return channel.send(message, deadline_ns, me, &wake);
}

std::int64_t number_in(const Message& message) {
  wire::Reader reader(message.bytes());
  wire::Item item{};
  EXPECT_EQ(reader.next(item), Status::ok);
  EXPECT_EQ(item.tag, wire::kSmallTuple);
  EXPECT_EQ(reader.next(item), Status::ok);
  EXPECT_EQ(item.tag, wire::kSmallAtom);
  EXPECT_EQ(reader.next(item), Status::ok);
  return item.integer;
}

/// The number, or -1 and *status.
std::int64_t receive(Channel& channel, Status* status = nullptr) {
  Message message;
  ThreadWaiter me;
  ThreadWaiter::Wake wake{};
  const Status got = channel.receive(message, soon(), me, &wake);
  if (status != nullptr) *status = got;
  if (got == Status::ok) return number_in(message);
  EXPECT_NE(status, nullptr) << static_cast<int>(got);
  return -1;
}

TEST(SharedChannel, IsOneQueueForAllProcesses) {
  const Processes on(3);
  EXPECT_EQ(on[1].max_size(), SharedQueue::kDefaultSize);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(send(on[static_cast<std::size_t>(i % 3)], i), Status::ok);
  EXPECT_EQ(on[2].size(), 6400U);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(receive(on[static_cast<std::size_t>(i % 2)]), i);
  Message none;
  EXPECT_EQ(on[1].try_receive(none), Status::empty);
  EXPECT_EQ(on[2].size(), 0U);
}

TEST(SharedChannel, ItsDomainTellsWhichThereAreAndWhoIsInIt) {
  Processes on(2);
  std::vector<Ref<Shareable>> some;
  EXPECT_EQ(on.domains[0]->list(some, 10), 1U);
  ASSERT_EQ(some.size(), 1U);
  EXPECT_EQ(some[0].get(), on.channels[0].get());
  some.clear();
  const Ref<Channel> second = SharedQueue::create(on.domains[0], test::names, 0, Content::bytes);
  EXPECT_EQ(on.domains[0]->list(some, 1), 2U);
  EXPECT_EQ(some.size(), 1U);
  const Segment bells =
      Segment::attach(dup(on.domains[0]->descriptor()), Domain::kMost * Domain::kBellStride);
  const auto pid_of = [&](unsigned number) -> Atomic<std::uint32_t>& {
    return *reinterpret_cast<Atomic<std::uint32_t>*>(
        bells.memory().data() + number * Domain::kBellStride + Domain::kPidOffset);
  };
  for (const unsigned number : {0U, 1U}) {
    EXPECT_EQ(pid_of(number).load(order::relaxed), static_cast<std::uint32_t>(getpid()));
  }
  on.domains[0]->ended(1);
  while (pid_of(1).load(order::relaxed) != 0) std::this_thread::yield();
}

TEST(SharedChannel, RefusesWhatCannotLeaveItsProcess) {
  const Processes on(2);
  Message message;
  const Ref<Channel> other = Channel::create(0);
  ASSERT_TRUE(
      wire::Writer(message).handle(wire::HandleKind::channel, Ref<Object>::borrow(other.get())));
  EXPECT_EQ(on[0].try_send(message), Status::not_shared);
  EXPECT_TRUE(message.owns_objects());
}

TEST(SharedChannel, TakesMessagesUpToItsLimitAndRefusesLargerOnes) {
  for (std::uint64_t const limit : {1U, 1000U, 65'536U, 70'000U, 3'000'000U}) {
    const Processes on(2, limit, Content::bytes);
    std::vector<std::uint8_t> data(limit + 1);
    std::ranges::generate(data, [n = 0U]() mutable { return static_cast<std::uint8_t>(n += 13); });
    Message message;
    ASSERT_TRUE(bytes::copy_into(message, data));
    EXPECT_EQ(on[1].try_send(message), Status::too_large);
    for (int turn = 0; turn < 5; ++turn) {
      Message sent;
      ASSERT_TRUE(bytes::copy_into(sent, std::span(data).first(limit)));
      ASSERT_EQ(on[1].try_send(sent), Status::ok) << limit;
      Message got;
      ASSERT_EQ(on[0].try_receive(got), Status::ok);
      EXPECT_TRUE(std::ranges::equal(bytes::view(got).bytes, std::span(data).first(limit)));
    }
  }
}

TEST(SharedChannel, WakesAReceiverInAnotherProcess) {
  const Processes on(2);
  on[0].add_sender();
  std::thread receiver([&] {
    for (int i = 0; i < 50; ++i) EXPECT_EQ(receive(on[1]), i);
  });
  for (int i = 0; i < 50; ++i) {
    until_waiting_near(on[1].data_waiters(), 1);
    ASSERT_EQ(send(on[0], i), Status::ok);
  }
  receiver.join();
}

TEST(SharedChannel, WakesASenderInAnotherProcess) {
  const Processes on(2, 1024);
  on[1].add_sender();
  int sent = 0;
  while (send(on[0], sent) == Status::ok) ++sent;
  EXPECT_GE(sent, 2 * 1024 / 64);
  std::thread sender([&] {
    for (int i = 0; i < 50; ++i) EXPECT_EQ(send(on[1], sent + i, soon()), Status::ok);
  });
  for (int i = 0; i < sent + 50; ++i) {
    if (i < 50) until_waiting_near(on[1].space_waiters(), 1);
    ASSERT_EQ(receive(on[0]), i);
  }
  sender.join();
}

TEST(SharedChannel, CloseWakesAllInAllProcesses) {
  const Processes on(3);
  on[0].add_sender();
  std::vector<std::thread> receivers;
  for (std::size_t i = 0; i < 6; ++i) {
    receivers.emplace_back([&, i] {
      Status status = Status::ok;
      EXPECT_EQ(receive(on[i % 3], &status), -1);
      EXPECT_EQ(status, Status::closed);
    });
  }
  for (std::size_t i = 0; i < 3; ++i) until_waiting_near(on[i].data_waiters(), 2);
  on[1].close();
  for (std::thread& each : receivers) each.join();
  EXPECT_EQ(send(on[2], 1), Status::closed);
}

TEST(SharedChannel, TellsReceiversWhenTheLastSenderOfAllProcessesGoes) {
  const Processes on(3);
  on[0].add_sender();
  on[2].add_sender();
  std::thread receiver([&] {
    Status status = Status::ok;
    EXPECT_EQ(receive(on[1], &status), -1);
    EXPECT_EQ(status, Status::closed);
  });
  until_waiting_near(on[1].data_waiters(), 1);
  on[0].remove_sender();
  EXPECT_TRUE(on[1].has_sender());
  until_waiting_near(on[1].data_waiters(), 1);
  on[2].remove_sender();
  receiver.join();
}

TEST(SharedChannel, AProcessWithoutTheChannelIsNoSender) {
  Processes on(3);
  on[2].add_sender();
  std::thread receiver([&] {
    Status status = Status::ok;
    EXPECT_EQ(receive(on[1], &status), -1);
    EXPECT_EQ(status, Status::closed);
  });
  until_waiting_near(on[1].data_waiters(), 1);
  on.channels[2] = {};
  receiver.join();
  on.channels.pop_back();
}

/// The mark of a process stays when its last waiter goes unfired, and then draws a call in vain.
TEST(SharedChannel, PassesOnACallForAWaiterThatHasGone) {
  const Processes on(3);
  on[0].add_sender();
  Message none;
  ThreadWaiter me;
  ThreadWaiter::Wake wake{};
  for (int turn = 0; turn < 20; ++turn) {
    ASSERT_EQ(on[1].receive(none, now_ns(), me, &wake), Status::empty);
    std::thread receiver([&] { EXPECT_EQ(receive(on[2]), turn); });
    until_waiting_near(on[2].data_waiters(), 1);
    ASSERT_EQ(send(on[0], turn), Status::ok);
    receiver.join();
  }
}

class SharedStream : public testing::TestWithParam<std::uint64_t> {};

/// Senders and receivers in three processes; each message arrives once, those of a sender in order.
TEST_P(SharedStream, DeliversEachMessageOnce) {
  const Processes on(3, GetParam());
  constexpr std::size_t kSenders = 3;
  constexpr std::int64_t kNext = 1'000'000;
  const auto each = static_cast<std::int64_t>(test::scaled(20'000));
  std::vector<std::thread> threads;
  for (std::size_t sender = 0; sender < kSenders; ++sender) {
    on[sender].add_sender();
    threads.emplace_back([&, sender] {
      for (std::int64_t i = 0; i < each; ++i) {
        ASSERT_EQ(send(on[sender], static_cast<std::int64_t>(sender) * kNext + i, soon()),
                  Status::ok);
      }
    });
  }
  std::vector<std::vector<std::int64_t>> got(3);
  for (std::size_t receiver = 0; receiver < got.size(); ++receiver) {
    threads.emplace_back([&, receiver] {
      for (;;) {
        Status status = Status::ok;
        std::int64_t const number = receive(on[receiver], &status);
        if (status == Status::closed) return;
        ASSERT_EQ(status, Status::ok);
        got[receiver].push_back(number);
      }
    });
  }
  for (std::size_t i = 0; i < kSenders; ++i) threads[i].join();
  on[0].close();
  for (std::size_t i = kSenders; i < threads.size(); ++i) threads[i].join();
  std::vector<std::int64_t> all;
  for (const auto& numbers : got) {
    std::vector<std::int64_t> last(kSenders, -1);
    for (std::int64_t const number : numbers) {
      auto& before = last[static_cast<std::size_t>(number / kNext)];
      ASSERT_GT(number, before);
      before = number;
    }
    all.insert(all.end(), numbers.begin(), numbers.end());
  }
  std::ranges::sort(all);
  ASSERT_EQ(all.size(), kSenders * static_cast<std::size_t>(each));
  ASSERT_TRUE(std::ranges::adjacent_find(all) == all.end());
}

INSTANTIATE_TEST_SUITE_P(Sizes, SharedStream, testing::Values(64, 0));

/// What a process that is killed may leave behind: a claim, the role, marks, a sender.
TEST(SharedChannel, GoesOnWithoutAProcessThatIsDead) {
  for (int turn = 0; turn < 20; ++turn) {
    Processes on(3);
    const Segment memory = memory_of(on[0]);
    SharedHeader& header = header_of(memory);
    MpscProducer dead = producer_in(memory, 3);
    on[2].add_sender();
    MpscProducer::Claim left;
    ASSERT_EQ(dead.try_claim(100, &left), Status::ok);
    on[2].shared()->data().announce();
    on[2].shared()->space().announce();
    if (turn % 2 == 0) header.consumer.store(3, order::relaxed);
    on[0].add_sender();
    ASSERT_EQ(send(on[0], turn), Status::ok);  // It wakes nobody, and lies behind the claim.
    std::thread receiver([&] { EXPECT_EQ(receive(on[1]), turn); });
    until_waiting_near(on[1].data_waiters(), 1);
    on.domains[0]->ended(2);
    receiver.join();
    EXPECT_TRUE(on[1].has_sender());
    on[0].remove_sender();
    EXPECT_FALSE(on[1].has_sender());
    // Its number is free again, once everything is undone.
    while (on.domains[0]->admit() != 2U) std::this_thread::yield();
  }
}

TEST(SharedChannel, WaitsWithRecoveryForAReceiverThatWasStopped) {
  const Processes on(3);
  const Segment memory = memory_of(on[0]);
  SharedHeader& header = header_of(memory);
  on[0].add_sender();
  on[2].add_sender();
  header.consumer.store(2, order::relaxed);  // Process 1, which lives.
  on.domains[0]->ended(2);
  Message none;
  ASSERT_EQ(send(on[0], 5), Status::ok);
  EXPECT_EQ(on[0].try_receive(none), Status::empty);
  EXPECT_TRUE(on[0].has_sender());
  // It goes on: who was kept waiting is looked for.
  std::thread receiver([&] { EXPECT_EQ(receive(on[0]), 5); });
  until_waiting_near(on[0].data_waiters(), 1);
  header.consumer.exchange(0, order::release("D2"));
  on[1].data_waiters().wake_one();
  receiver.join();
  on[0].remove_sender();
  while (on[0].has_sender()) std::this_thread::yield();
}

/// Both lines of a process that forgets the channel: its marks would draw calls that nobody passes
/// on.
TEST(SharedChannel, AProcessThatForgetsItDrawsNoCalls) {
  Processes on(3, 1024);
  Message message;
  ThreadWaiter me;
  ThreadWaiter::Wake wake{};
  on[0].add_sender();
  ASSERT_EQ(on[1].receive(message, now_ns(), me, &wake), Status::empty);
  int sent = 0;
  while (send(on[0], sent) == Status::ok) ++sent;
  ASSERT_EQ(send(on[1], 1, now_ns() + 1), Status::full);
  on.channels[1] = {};
  std::thread sender([&] { EXPECT_EQ(send(on[2], sent, soon()), Status::ok); });
  until_waiting_near(on[2].space_waiters(), 1);
  for (int i = 0; i <= sent; ++i) ASSERT_EQ(receive(on[0]), i);
  sender.join();
  std::thread receiver([&] { EXPECT_EQ(receive(on[2]), 77); });
  until_waiting_near(on[2].data_waiters(), 1);
  ASSERT_EQ(send(on[0], 77), Status::ok);
  receiver.join();
  on.channels.erase(on.channels.begin() + 1);
}

TEST(SharedChannel, IsNotOverWhileAnotherProcessTakesAMessage) {
  const Processes on(3);
  const Segment memory = memory_of(on[0]);
  on[0].add_sender();
  ASSERT_EQ(send(on[0], 1), Status::ok);
  on[0].remove_sender();
  header_of(memory).consumer.store(3, order::relaxed);  // Process 2 is about to.
  Message message;
  EXPECT_EQ(on[1].receive_or_wait(message), Status::empty);
  header_of(memory).consumer.store(0, order::relaxed);
  EXPECT_EQ(receive(on[1]), 1);
  EXPECT_EQ(on[1].receive_or_wait(message), Status::closed);
}

/// One that looked while another process took a message, of which there was none.
TEST(SharedChannel, TheEndIsToldToWhoFoundAnotherOneLooking) {
  const Processes on(3);
  const Segment memory = memory_of(on[0]);
  SharedHeader& header = header_of(memory);
  on[0].add_sender();
  on[0].close();
  header.consumer.store(3, order::relaxed);  // Process 2.
  std::thread receiver([&] {
    Status status = Status::ok;
    EXPECT_EQ(receive(on[1], &status), -1);
    EXPECT_EQ(status, Status::closed);
  });
  until_waiting_near(on[1].data_waiters(), 1);
  while (header.consumer.load(order::relaxed) == 3) std::this_thread::yield();
  header.consumer.store(1U << 8, order::relaxed);  // As if it began to look only now.
  Message message;
  EXPECT_EQ(on[2].try_receive(message), Status::closed);
  receiver.join();
}

TEST(SharedChannel, RoomOfTheDeadIsGivenToWhoeverWaits) {
  const Processes on(3, 1024);
  const Segment memory = memory_of(on[0]);
  MpscProducer dead = producer_in(memory, 3);
  on[0].add_sender();
  ASSERT_EQ(send(on[0], 1), Status::ok);
  for (MpscProducer::Claim claim; dead.try_claim(960, &claim) == Status::ok;) {
  }
  for (MpscProducer::Claim claim; dead.try_claim(1, &claim) == Status::ok;) {
  }
  std::thread sender([&] { EXPECT_EQ(send(on[1], 2, soon()), Status::ok); });
  until_waiting_near(on[1].space_waiters(), 1);
  on.domains[0]->ended(2);
  while (on.domains[0]->admit() != 2U) std::this_thread::yield();
  EXPECT_EQ(receive(on[0]), 1);
  EXPECT_EQ(receive(on[0]), 2);
  sender.join();
}

TEST(SharedChannel, WhatIsCorruptEndsEverybodysWait) {
  const Processes on(2, 1024);
  const Segment memory = memory_of(on[0]);
  on[0].add_sender();
  while (send(on[0], 1) == Status::ok) {
  }
  std::thread sender([&] { EXPECT_EQ(send(on[1], 2, soon()), Status::closed); });
  until_waiting_near(on[1].space_waiters(), 1);
  auto& entry = *reinterpret_cast<Atomic<std::uint64_t>*>(
      memory.memory().data() + sizeof(SharedHeader) + sizeof(RingHeader));
  entry.fetch_or(0x1FFFF, order::relaxed);  // No record is that long.
  Message message;
  EXPECT_EQ(on[0].try_receive(message), Status::closed);
  sender.join();
}

/// Numbers come back although somebody wrote there that nobody takes messages whom there is.
TEST(SharedChannel, ALieAboutWhoTakesMessagesHoldsNothingUp) {
  for (std::uint32_t const lie : {0x77U, 1U, 65U, 0xFFFFFFFFU}) {
    const Processes on(3);
    const Segment memory = memory_of(on[0]);
    header_of(memory).consumer.store(lie, order::relaxed);
    on.domains[0]->ended(2);
    while (on.domains[0]->admit() != 2U) std::this_thread::yield();
  }
}

/// A forked child has none of the memory: there the channel is closed, and may go.
TEST(SharedChannel, IsClosedInAForkedChild) {
  Processes on(2);
  const pid_t child = fork();
  if (child == 0) {
    Message message;
    const bool is_closed = send(on[0], 1) == Status::closed && on[0].size() == 0 &&
                           on[0].try_receive(message) == Status::closed && on[0].is_closed();
    on.channels.clear();
    _exit(is_closed ? 17 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 17) << status;
  ASSERT_EQ(send(on[0], 1), Status::ok);
  EXPECT_EQ(receive(on[1]), 1);
}

/// Whatever is written there: an error or an end, no wrong access, no endless loop.
TEST(SharedChannel, SurvivesAnythingInItsMemory) {
  std::mt19937 random(4711);
  for (std::uint64_t turn = 0; turn < test::scaled(400); ++turn) {
    const Processes on(2, 1024);
    const Segment memory = memory_of(on[0]);
    std::size_t const bytes = memory.memory().size();
    for (int i = 0; i < 5; ++i) (void)send(on[1], i);
    std::uint8_t* const words = memory.memory().data();
    for (int i = 0; i < 30; ++i) {
      // Most of it goes where the words are.
      std::size_t const at = random() % 2 == 0 ? random() % 2048 : random() % bytes;
      words[at] = static_cast<std::uint8_t>(random());
    }
    for (int i = 0; i < 50; ++i) {
      Message message;
      (void)on[0].try_receive(message);
      (void)send(on[0], i);
      (void)on[0].size();
    }
    on[0].close();
  }
}

}  // namespace
}  // namespace penstock
