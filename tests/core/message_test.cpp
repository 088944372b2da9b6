// SPDX-License-Identifier: Apache-2.0
#include "penstock/message.hpp"

#include <gtest/gtest.h>

#include "support.hpp"

namespace penstock {
namespace {

TEST(Message, IsEmptyAtFirst) {
  Message message;
  EXPECT_EQ(message.size(), 0U);
  EXPECT_EQ(message.cost(), 0U);
  EXPECT_TRUE(message.bytes().empty());
  EXPECT_FALSE(message.owns_objects());
}

TEST(Message, AllocatesNothingUpToItsInsideSize) {
  test::FailingMemory const none(1);
  Message message;
  for (std::size_t i = 0; i < Message::kInside; ++i) {
    std::uint8_t* const room = message.extend(1);
    ASSERT_NE(room, nullptr);
    *room = static_cast<std::uint8_t>(i);
  }
  EXPECT_EQ(message.extend(1), nullptr);
  EXPECT_EQ(message.size(), Message::kInside);
}

TEST(Message, KeepsItsContentsWhenItGrows) {
  for (std::size_t const step : {1U, 7U, 64U, 1000U, 5000U}) {
    Message message;
    std::size_t size = 0;
    while (size < 100'000) {
      std::uint8_t* const room = message.extend(step);
      ASSERT_NE(room, nullptr);
      for (std::size_t i = 0; i < step; ++i) room[i] = static_cast<std::uint8_t>((size + i) * 7);
      size += step;
    }
    ASSERT_EQ(message.bytes().size(), size);
    ASSERT_EQ(message.cost(), size);
    for (std::size_t i = 0; i < size; ++i) {
      ASSERT_EQ(message.bytes()[i], static_cast<std::uint8_t>(i * 7));
    }
  }
}

TEST(Message, StaysAsItIsWhenMemoryRunsOut) {
  Message message;
  ASSERT_TRUE(test::fill(message, 1000, {1, 2}));
  for (int grown = 0; grown < 2; ++grown) {
    {
      test::FailingMemory const none(1);
      EXPECT_EQ(message.extend(10'000), nullptr);
    }
    test::Stamp stamp{};
    EXPECT_TRUE(test::read_record(message.bytes().first(1000), &stamp));
    ASSERT_NE(message.extend(1000), nullptr);  // The next time from a block to a larger one.
  }
}

TEST(Message, RefusesToBecomeLongerThanItsLimit) {
  Message message;
  ASSERT_NE(message.extend(100), nullptr);
  EXPECT_EQ(message.extend(Message::kMaxBytes - 99), nullptr);
  EXPECT_EQ(message.extend(SIZE_MAX), nullptr);
  EXPECT_EQ(message.extend(SIZE_MAX - 100), nullptr);
  EXPECT_EQ(message.size(), 100U);
}

TEST(Message, CountsWhatItPinsAndReleasesItOnce) {
  std::atomic<int> live{0};
  const std::vector<std::uint8_t> large(5000, 1);
  {
    Message message;
    wire::Writer writer(message);
    ASSERT_TRUE(writer.tuple(2));
    ASSERT_TRUE(writer.pinned(wire::PinnedAs::binary,
                              Ref<wire::PinnedBytes>::steal(new test::Counted(live, large))));
    ASSERT_TRUE(
        writer.handle(wire::HandleKind::channel, Ref<Object>::steal(new test::Counted(live, {}))));
    EXPECT_EQ(live.load(), 2);
    EXPECT_TRUE(message.owns_objects());
    EXPECT_EQ(message.cost(), message.size() + 5000);
    message.clear();
    EXPECT_EQ(live.load(), 0);
    EXPECT_EQ(message.cost(), 0U);
    message.clear();
    ASSERT_TRUE(
        writer.handle(wire::HandleKind::call, Ref<Object>::steal(new test::Counted(live, {}))));
    EXPECT_EQ(live.load(), 1);
  }
  EXPECT_EQ(live.load(), 0);
}

}  // namespace
}  // namespace penstock
