// SPDX-License-Identifier: Apache-2.0
// Reading a byte stream in small steps, without a Reading for each.
#include <gtest/gtest.h>

#include "streams.hpp"

namespace penstock {
namespace {

using test::Bytes;
using test::Reader;
using test::stream_bytes;
using test::write_by_reference;

Bytes copy_of(std::span<const std::uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

TEST(ByteStreamSeen, IsWhatIsLeftOfThePieceLookedAt) {
  std::atomic<int> live{0};
  const auto stream = ByteStream::create({});
  EXPECT_TRUE(Reader(*stream)->here().empty());
  EXPECT_TRUE(stream->seen().empty());
  ASSERT_EQ(write_by_reference(*stream, live, stream_bytes(0, 10)), Status::ok);
  ASSERT_EQ(write_by_reference(*stream, live, stream_bytes(10, 5)), Status::ok);
  EXPECT_TRUE(stream->seen().empty());  // Nobody has looked.
  EXPECT_EQ(copy_of(Reader(*stream)->here()), stream_bytes(0, 10));
  EXPECT_EQ(copy_of(stream->seen()), stream_bytes(0, 10));
  stream->consume_seen(4);
  EXPECT_EQ(copy_of(stream->seen()), stream_bytes(4, 6));
  EXPECT_EQ(Reader(*stream).take(3), stream_bytes(4, 3));
  EXPECT_EQ(copy_of(stream->seen()), stream_bytes(7, 3));
  stream->consume_seen(3);
  EXPECT_TRUE(stream->seen().empty());
  EXPECT_EQ(copy_of(Reader(*stream)->here()), stream_bytes(10, 5));
  Reader(*stream)->seek(2);
  EXPECT_TRUE(stream->seen().empty());
  Reader(*stream)->seek(12);
  EXPECT_EQ(copy_of(stream->seen()), stream_bytes(12, 3));
  stream->consume_seen(3);
  EXPECT_TRUE(Reader(*stream)->here().empty());
}

/// A stream that was read line by line kept every chunk whose end was the end of a line.
TEST(ByteStreamSeen, FreesWhatIsBehindIt) {
  std::atomic<int> live{0};
  const auto stream = ByteStream::create({.retains = false});
  for (std::uint64_t i = 0; i < 50; ++i) {
    ASSERT_EQ(write_by_reference(*stream, live, stream_bytes(10 * i, 10)), Status::ok);
    ASSERT_EQ(copy_of(Reader(*stream)->here()), stream_bytes(10 * i, 10));
    stream->consume_seen(10);
    ASSERT_LE(live.load(), 2);
    ASSERT_LE(stream->pinned(), 20U);
  }
  EXPECT_EQ(Reader(*stream)->base(), 500U);
}

/// Looking frees nothing that can still be returned to.
TEST(ByteStreamSeen, LeavesWhatWasNotReadWhenItLooksFurtherOn) {
  std::atomic<int> live{0};
  const auto stream = ByteStream::create({.retains = false});
  for (std::uint64_t i = 0; i < 5; ++i) {
    ASSERT_EQ(write_by_reference(*stream, live, stream_bytes(10 * i, 10)), Status::ok);
  }
  Reader reader(*stream);
  reader->seek(35);
  EXPECT_EQ(copy_of(reader->here()), stream_bytes(35, 5));
  EXPECT_EQ(reader->base(), 0U);
  reader->seek(0);
  EXPECT_EQ(reader.take_all(), stream_bytes(0, 50));
}

TEST(ByteStreamSeen, MakesRoomForWriters) {
  const auto stream = ByteStream::create({.max_unread = 10});
  ASSERT_EQ(stream->write(stream_bytes(0, 10)), Status::ok);
  EXPECT_EQ(Reader(*stream)->here().size(), 10U);
  ThreadWaiter me;
  stream->space_waiters().add(me);
  stream->want_room(5);
  stream->consume_seen(4);
  EXPECT_EQ(stream->space_waiters().waiting(), 1U);
  stream->consume_seen(1);
  EXPECT_TRUE(me.leave(stream->space_waiters()));
  EXPECT_EQ(stream->write(stream_bytes(10, 5)), Status::ok);
}

/// Whatever came between, seen() is what follows the position, or nothing.
TEST(ByteStreamSeen, IsNeverAnythingElse) {
  for (std::uint64_t seed = 1; seed <= test::scaled(200); ++seed) {
    test::Random random(seed);
    std::atomic<int> live{0};
    const auto stream = ByteStream::create({.retains = seed % 3 == 0});
    for (int step = 0; step < 200; ++step) {
      const std::span<const std::uint8_t> seen = stream->seen();
      ASSERT_EQ(copy_of(seen), stream_bytes(stream->position(), seen.size())) << "seed " << seed;
      if (!seen.empty() && random.below(2) == 0) {
        stream->consume_seen(static_cast<std::size_t>(1 + random.below(seen.size())));
        continue;
      }
      Bytes bytes = stream_bytes(stream->written(), 1 + random.below(30));
      switch (random.below(5)) {
        case 0:
          ASSERT_EQ(stream->write(bytes), Status::ok);
          break;
        case 1:
          ASSERT_EQ(write_by_reference(*stream, live, std::move(bytes)), Status::ok);
          break;
        case 2: {
          Reader reader(*stream);
          std::uint64_t const count = random.below(reader->available() + 1);
          const Bytes expected = stream_bytes(reader->position(), count);
          ASSERT_EQ(reader.take(count), expected);
          break;
        }
        case 3: {
          Reader reader(*stream);
          std::uint64_t const range = reader->written() - reader->base() + 1;
          reader->seek(reader->base() + random.below(range));
          break;
        }
        default:
          (void)Reader(*stream)->here();
      }
    }
    Reader reader(*stream);
    std::uint64_t const from = reader->position();
    ASSERT_EQ(reader.take_all(), stream_bytes(from, stream->written() - from));
  }
}

}  // namespace
}  // namespace penstock
