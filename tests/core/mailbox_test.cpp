// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <thread>

#include "penstock/waiter.hpp"
#include "support.hpp"

namespace penstock {
namespace {

class TestMailbox final : public Mailbox {
 public:
  explicit TestMailbox(std::atomic<int>& live) : live_(live) { live_.fetch_add(1); }
  [[nodiscard]] int wakes() const { return wakes_.load(); }

 private:
  ~TestMailbox() override { live_.fetch_sub(1); }
  void wake() noexcept override { wakes_.fetch_add(1); }
  std::atomic<int> wakes_{0};
  std::atomic<int>& live_;
};

class TestWaiter final : public MailboxWaiter {
 public:
  TestWaiter(const Ref<TestMailbox>& mailbox, std::atomic<int>& live, int id)
      : MailboxWaiter(Ref<Mailbox>::borrow(mailbox.get())), live_(live), id_(id) {
    live_.fetch_add(1);
  }
  [[nodiscard]] int id() const { return id_; }

 private:
  ~TestWaiter() override { live_.fetch_sub(1); }
  std::atomic<int>& live_;
  int id_;
};

class MailboxTest : public testing::Test {
 protected:
  ~MailboxTest() override {
    mailbox = {};
    EXPECT_EQ(live.load(), 0) << "waiters or mailboxes leaked";
  }
  Ref<TestWaiter> waiter(int id) {
    return Ref<TestWaiter>::steal(new TestWaiter(mailbox, live, id));
  }
  /// As a loop does before it sleeps: the list holds a reference of its own.
  static void add(WaitList& list, TestWaiter& to_add) {
    to_add.retain();
    list.add(to_add);
  }
  /// The ids of all, whose references are given back.
  static std::vector<int> ids(MailboxWaiter* oldest) {
    std::vector<int> found;
    while (oldest != nullptr) {
      MailboxWaiter* const next = Mailbox::next(*oldest);
      found.push_back(static_cast<TestWaiter*>(oldest)->id());
      oldest->release();
      oldest = next;
    }
    return found;
  }

  std::atomic<int> live{0};
  Ref<TestMailbox> mailbox = Ref<TestMailbox>::steal(new TestMailbox(live));
};

TEST_F(MailboxTest, DeliversABurstOldestFirstWithOneWakeUp) {
  WaitList list;
  const Ref<TestWaiter> first = waiter(1), second = waiter(2), third = waiter(3);
  EXPECT_EQ(mailbox->take(), nullptr);
  for (TestWaiter* each : {first.get(), second.get(), third.get()}) add(list, *each);
  list.wake_one();
  list.wake_one();
  EXPECT_EQ(mailbox->wakes(), 1);
  list.wake_one();
  EXPECT_EQ(mailbox->wakes(), 1);
  EXPECT_EQ(ids(mailbox->take()), (std::vector{1, 2, 3}));
  EXPECT_EQ(mailbox->take(), nullptr);
  add(list, *second);
  list.wake_one();
  EXPECT_EQ(mailbox->wakes(), 2);
  EXPECT_EQ(ids(mailbox->take()), (std::vector{2}));
}

TEST_F(MailboxTest, IsSkippedByWakeUpsOnceClosed) {
  WaitList list;
  const Ref<TestWaiter> first = waiter(1);
  const Ref<TestMailbox> closed = mailbox;
  mailbox = Ref<TestMailbox>::steal(new TestMailbox(live));
  const Ref<TestWaiter> second = waiter(2);
  add(list, *first);
  add(list, *second);
  EXPECT_EQ(closed->close(), nullptr);
  list.wake_one();  // Goes to the second.
  EXPECT_EQ(list.waiting(), 0U);
  EXPECT_EQ(ids(mailbox->take()), (std::vector{2}));
  EXPECT_EQ(closed->take(), nullptr);
  EXPECT_EQ(closed->close(), nullptr);
  EXPECT_EQ(closed->wakes(), 0);
}

TEST_F(MailboxTest, HandsBackWhatWasLeftWhenItCloses) {
  WaitList list;
  const Ref<TestWaiter> first = waiter(1), second = waiter(2);
  add(list, *first);
  add(list, *second);
  list.wake_all();
  EXPECT_EQ(ids(mailbox->close()), (std::vector{1, 2}));
}

TEST_F(MailboxTest, AWaiterMayBeDroppedByItsOwnerWhileItIsFired) {
  WaitList list;
  {
    const Ref<TestWaiter> only = waiter(1);
    add(list, *only);
  }
  list.wake_one();
  EXPECT_EQ(ids(mailbox->take()), (std::vector{1}));
}

/// Posts from two threads; the loop sleeps until woken, so that a waiter posted without a wake-up
/// would stop it for good.
TEST_F(MailboxTest, WakesTheLoopForEveryPost) {
  std::uint64_t const rounds = test::scaled(50'000);
  WaitList lists[2];
  std::atomic<std::uint64_t> delivered[2]{};
  std::vector<std::jthread> threads;
  for (int id = 0; id < 2; ++id) {
    threads.emplace_back([&, id] {
      const Ref<TestWaiter> mine = waiter(id);
      test::Patience patience;
      for (std::uint64_t round = 1; round <= rounds; ++round) {
        add(lists[id], *mine);
        lists[id].wake_one();
        while (delivered[id].load() != round) ASSERT_TRUE(patience.another_turn());
      }
    });
  }
  int woken = 0;
  test::Patience patience;
  while (delivered[0].load() < rounds || delivered[1].load() < rounds) {
    while (mailbox->wakes() == woken) ASSERT_TRUE(patience.another_turn());
    woken = mailbox->wakes();
    for (const int id : ids(mailbox->take())) delivered[id].fetch_add(1);
  }
}

TEST_F(MailboxTest, LosesNoWaiterToACloseAtTheSameTime) {
  for (std::uint64_t round = 0; round < test::scaled(5'000); ++round) {
    mailbox = Ref<TestMailbox>::steal(new TestMailbox(live));
    WaitList list;
    const Ref<TestWaiter> only = waiter(1);
    add(list, *only);
    std::jthread notifier([&] { list.wake_one(); });
    const std::vector<int> left = ids(mailbox->close());
    notifier.join();
    EXPECT_LE(left.size(), 1U);
    EXPECT_EQ(mailbox->take(), nullptr);
  }
}

}  // namespace
}  // namespace penstock
