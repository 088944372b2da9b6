// SPDX-License-Identifier: Apache-2.0
#include "penstock/bytes.hpp"

#include <gtest/gtest.h>

#include "penstock/channel.hpp"
#include "penstock/slab.hpp"
#include "streams.hpp"

namespace penstock {
namespace {

using test::Bytes;
using test::owned;
using test::stream_bytes;

Bytes contents(const Message& message) {
  const bytes::View view = bytes::view(message);
  return {view.bytes.begin(), view.bytes.end()};
}

TEST(Bytes, AreCopiedExactly) {
  for (std::size_t const size : {0U, 1U, 1023U, 1024U, 1025U, 100'000U}) {
    Message message;
    ASSERT_TRUE(bytes::copy_into(message, stream_bytes(0, size)));
    EXPECT_EQ(message.cost(), size);
    EXPECT_EQ(message.pinned(), 0U);
    EXPECT_EQ(contents(message), stream_bytes(0, size));
    EXPECT_EQ(bytes::view(message).pinned, nullptr);
  }
}

TEST(Bytes, AreReferredToWithoutACopy) {
  std::atomic<int> live{0};
  {
    Message message;
    Ref<wire::PinnedBytes> pinned = owned(live, stream_bytes(0, bytes::kPinThreshold));
    wire::PinnedBytes* const expected = pinned.get();
    ASSERT_TRUE(bytes::refer_to(message, std::move(pinned)));
    EXPECT_EQ(message.pinned(), bytes::kPinThreshold);
    EXPECT_EQ(bytes::view(message).pinned, expected);
    EXPECT_EQ(bytes::view(message).bytes.data(), expected->bytes().data());
    EXPECT_EQ(contents(message), stream_bytes(0, bytes::kPinThreshold));
    EXPECT_EQ(live.load(), 1);
  }
  EXPECT_EQ(live.load(), 0);
}

/// Nothing that looks like wire form is taken for it.
TEST(Bytes, MayLookLikeAnything) {
  for (int first = 0; first < 256; ++first) {
    Message message;
    const Bytes all(20, static_cast<std::uint8_t>(first));
    ASSERT_TRUE(bytes::copy_into(message, all));
    EXPECT_EQ(contents(message), all);
  }
}

TEST(Bytes, AreLeftAloneWhenMemoryRunsOut) {
  const test::FailingMemory failing(1);
  Message message;
  EXPECT_FALSE(bytes::copy_into(message, Bytes(5'000)));
  EXPECT_EQ(message.size(), 0U);
}

Status send(Channel& channel, const Bytes& all) {
  Message message;
  EXPECT_TRUE(bytes::copy_into(message, all));
  return channel.try_send(message);
}

Status refer(Channel& channel, std::atomic<int>& live, std::size_t size) {
  Message message;
  EXPECT_TRUE(bytes::refer_to(message, owned(live, stream_bytes(0, size))));
  const Status status = channel.try_send(message);
  EXPECT_EQ(message.pinned(), status == Status::ok ? 0 : size);  // Refused: unchanged.
  return status;
}

TEST(ByteChannel, CountsExactlyItsBytes) {
  std::atomic<int> live{0};
  for (std::uint64_t const max_size : {std::uint64_t{0}, std::uint64_t{1} << 20}) {
    const auto channel = Channel::create(max_size, Channel::Content::bytes);
    ASSERT_TRUE(channel);
    EXPECT_EQ(channel->content(), Channel::Content::bytes);
    const std::vector<std::size_t> sizes{0, 1, 20, 1024, 1025, 8191, 8192, 8193, 70'000};
    std::uint64_t queued = 0;
    std::uint64_t pinned = 0;
    for (std::size_t const size : sizes) {
      ASSERT_EQ(send(*channel, stream_bytes(0, size)), Status::ok);
      EXPECT_EQ(channel->size(), queued += size);
      if (size < bytes::kPinThreshold) continue;
      ASSERT_EQ(refer(*channel, live, size), Status::ok);
      EXPECT_EQ(channel->size(), queued += size);
      EXPECT_EQ(channel->pinned(), pinned += size);
    }
    for (std::size_t const size : sizes) {
      for (int i = 0; i < (size < bytes::kPinThreshold ? 1 : 2); ++i) {
        Message message;
        ASSERT_EQ(channel->try_receive(message), Status::ok);
        ASSERT_EQ(contents(message), stream_bytes(0, size));
        EXPECT_EQ(channel->size(), queued -= size);
        EXPECT_EQ(channel->pinned(), pinned -= message.pinned());
      }
    }
    EXPECT_EQ(channel->size() + channel->pinned(), 0U);
  }
  EXPECT_EQ(live.load(), 0);
}

/// A reference of 10 bytes of wire form must not make what fits exactly too large.
TEST(ByteChannel, IsFullExactlyAtMaxSize) {
  std::atomic<int> live{0};
  const auto channel = Channel::create(20'000, Channel::Content::bytes);
  EXPECT_EQ(refer(*channel, live, 20'001), Status::too_large);
  ASSERT_EQ(refer(*channel, live, 20'000), Status::ok);
  EXPECT_EQ(send(*channel, Bytes(1)), Status::full);
  EXPECT_EQ(send(*channel, {}), Status::ok);
  Message message;
  ASSERT_EQ(channel->try_receive(message), Status::ok);
  message.clear();
  ASSERT_EQ(send(*channel, Bytes(10'000)), Status::ok);
  EXPECT_EQ(refer(*channel, live, 10'001), Status::full);
  EXPECT_EQ(channel->pinned(), 0U);
  EXPECT_EQ(refer(*channel, live, 10'000), Status::ok);
  EXPECT_EQ(channel->size(), 20'000U);
  EXPECT_EQ(channel->pinned(), 10'000U);
  channel->close();
  EXPECT_EQ(refer(*channel, live, 10'000), Status::closed);
  EXPECT_EQ(channel->pinned(), 10'000U);
  EXPECT_EQ(live.load(), 1);
}

TEST(ByteChannel, CountsNothingOfAFailedPush) {
  std::atomic<int> live{0};
  // Free slabs would hide the allocation of the next one.
  std::vector<std::uint8_t*> slabs;
  {
    const auto channel = Channel::create(0, Channel::Content::bytes);
    ASSERT_TRUE(channel);
    test::FailingMemory const none(1);
    while (std::uint8_t* const slab = slab::take()) slabs.push_back(slab);
    Status status = Status::ok;
    std::uint64_t sent = 0;
    while (status == Status::ok) {
      status = refer(*channel, live, 10'000);
      sent += status == Status::ok ? 10'000 : 0;
      ASSERT_EQ(channel->size(), sent);
      ASSERT_EQ(channel->pinned(), sent);
    }
    EXPECT_EQ(status, Status::out_of_memory);
    EXPECT_GT(sent, 0U);
    memory::fail_after(0);
    EXPECT_EQ(refer(*channel, live, 10'000), Status::ok);
    EXPECT_EQ(channel->pinned(), sent + 10'000);
  }
  EXPECT_EQ(live.load(), 0);
  for (std::uint8_t* const slab : slabs) slab::give(slab);
}

TEST(ByteChannel, CountsViewsThatOutliveTheirMessage) {
  const auto channel = Channel::create(0, Channel::Content::bytes);
  channel->pin(100);
  EXPECT_EQ(channel->pinned(), 100U);
  channel->unpin(100);
  EXPECT_EQ(channel->pinned(), 0U);
}

}  // namespace
}  // namespace penstock
