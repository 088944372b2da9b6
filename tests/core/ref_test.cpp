// SPDX-License-Identifier: Apache-2.0
#include "penstock/ref.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "penstock/channel.hpp"
#include "support.hpp"

namespace penstock {
namespace {

class Node final : public Object {
 public:
  Node(std::atomic<int>& live, Ref<Node> next) : live_(live), next_(std::move(next)) { ++live_; }

 private:
  ~Node() override { --live_; }
  std::atomic<int>& live_;
  Ref<Node> next_;
};

TEST(Ref, DestroysWithTheLastReference) {
  std::atomic<int> live{0};
  Ref<Node> first = Ref<Node>::steal(new Node(live, {}));
  Ref<Node> second = first;
  Ref<Node> third = Ref<Node>::borrow(first.get());
  first = {};
  EXPECT_EQ(live, 1);
  first = std::move(second);
  third = {};
  EXPECT_EQ(live, 1);
  first = {};
  EXPECT_EQ(live, 0);
}

/// Each destructor called the next one, and a long chain ran over the end of the stack.
TEST(Ref, DestroysAChainOfAnyLengthInConstantStack) {
  std::atomic<int> live{0};
  {
    Ref<Node> chain;
    for (int i = 0; i < 300'000; ++i) chain = Ref<Node>::steal(new Node(live, std::move(chain)));
    EXPECT_EQ(live, 300'000);
  }
  EXPECT_EQ(live, 0);
}

/// As above, with channels whose only message holds the next channel.
TEST(Ref, DestroysAChainOfChannels) {
  std::atomic<int> live{0};
  Ref<Object> inner = Ref<Object>::steal(new Node(live, {}));
  for (int i = 0; i < 400; ++i) {
    const Ref<Channel> channel = Channel::create(0);
    ASSERT_TRUE(channel);
    Message message;
    ASSERT_TRUE(wire::Writer(message).handle(wire::HandleKind::channel, std::move(inner)));
    ASSERT_EQ(channel->try_send(message), Status::ok);
    inner = Ref<Object>::borrow(channel.get());
  }
  EXPECT_EQ(live, 1);
  inner = {};
  EXPECT_EQ(live, 0);
}

TEST(Ref, CountsFromSeveralThreads) {
  std::atomic<int> live{0};
  for (int round = 0; round < 20; ++round) {
    Ref<Node> shared = Ref<Node>::steal(new Node(live, {}));
    std::vector<std::jthread> threads;
    for (int id = 0; id < 3; ++id) {
      threads.emplace_back([copy = shared] {
        for (int i = 0; i < 2'000; ++i) {
          const Ref<Node> another = copy;
          EXPECT_TRUE(another);
        }
      });
    }
    shared = {};
    threads.clear();
    ASSERT_EQ(live, 0);
  }
}

}  // namespace
}  // namespace penstock
