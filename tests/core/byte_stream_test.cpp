// SPDX-License-Identifier: Apache-2.0
#include "penstock/byte_stream.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string_view>
#include <thread>

#include "streams.hpp"

namespace penstock {
namespace {

using test::Bytes;
using test::Reader;
using test::stream_bytes;
using test::write_by_reference;
using End = ByteStream::End;

/// The next `count` bytes of the pattern.
Status write(ByteStream& stream, std::size_t count) {
  return stream.write(stream_bytes(stream.written(), count));
}

Ref<ByteStream> open_stream(const ByteStream::Options& options = {}) {
  Ref<ByteStream> stream = ByteStream::create(options);
  EXPECT_TRUE(stream);
  return stream;
}

End end_of(ByteStream& stream) { return Reader(stream)->end(); }

TEST(ByteStream, IsEmptyAtFirst) {
  const auto stream = open_stream();
  Reader reader(*stream);
  EXPECT_EQ(reader->available(), 0U);
  EXPECT_EQ(reader->position() + reader->written() + reader->base() + stream->pinned(), 0U);
  EXPECT_EQ(reader->end(), End::open);
  EXPECT_FALSE(stream->is_closed() || stream->is_closed_by_reader());
  reader->seek(0);
  reader->consume(0);
  EXPECT_EQ(reader->piece(0).data, nullptr);
  EXPECT_EQ(reader->find(Bytes{}, 0, 0), 0U);
  EXPECT_EQ(reader->find(Bytes{1}, 0, 0), ByteStream::Reading::kNowhere);
  EXPECT_EQ(reader->find(std::uint8_t{1}, 0, 0), ByteStream::Reading::kNowhere);
  EXPECT_TRUE(reader.take_all().empty());
}

TEST(ByteStream, BringsWhatWasWrittenWhateverTheSizes) {
  std::atomic<int> live{0};
  for (std::uint64_t seed = 1; seed <= test::scaled(60); ++seed) {
    test::Random random(seed);
    const auto stream = open_stream({.retains = seed % 2 == 0});
    std::uint64_t read = 0;
    for (int step = 0; step < 200; ++step) {
      // About the sizes of chunks, and tiny ones.
      std::size_t const size = random.below(random.below(4) == 0 ? 20'000 : 40);
      Bytes bytes = stream_bytes(stream->written(), size);
      if (random.below(8) == 0) {
        ASSERT_EQ(write_by_reference(*stream, live, std::move(bytes)), Status::ok);
      } else {
        ASSERT_EQ(stream->write(bytes), Status::ok);
      }
      if (random.below(3) != 0) continue;
      Reader reader(*stream);
      ASSERT_EQ(reader->position(), read);
      ASSERT_EQ(reader->available(), stream->written() - read);
      const auto count = static_cast<std::size_t>(random.below(reader->available() + 1));
      ASSERT_EQ(reader.take(count), stream_bytes(read, count));
      read += count;
    }
    Reader reader(*stream);
    ASSERT_EQ(reader.take_all(), stream_bytes(read, stream->written() - read));
  }
  EXPECT_EQ(live.load(), 0);
}

/// Exactly to the end of a chunk, one byte less, one more: of the first and of the grown ones.
TEST(ByteStream, FillsChunksToTheirLastByte) {
  constexpr std::size_t kFirst = 4096 - sizeof(Chunk);
  for (std::size_t const first : {kFirst - 1, kFirst, kFirst + 1, 3 * kFirst - 1, 3 * kFirst}) {
    for (std::size_t const second : {std::size_t{1}, std::size_t{2}, kFirst, 2 * kFirst}) {
      const auto stream = open_stream({.retains = false});
      ASSERT_EQ(write(*stream, first), Status::ok);
      ASSERT_EQ(write(*stream, second), Status::ok);
      Reader reader(*stream);
      ASSERT_EQ(reader.take(first), stream_bytes(0, first));
      ASSERT_EQ(reader.take_all(), stream_bytes(first, second));
      ASSERT_EQ(reader->base(), first + second);
    }
  }
}

TEST(ByteStream, AcceptsWhatWasAnnouncedAndNoMore) {
  std::atomic<int> live{0};
  const auto stream = open_stream({.content_length = 10});
  EXPECT_EQ(write(*stream, 11), Status::too_long);
  EXPECT_EQ(write(*stream, 6), Status::ok);
  EXPECT_EQ(write(*stream, 5), Status::too_long);
  EXPECT_EQ(write_by_reference(*stream, live, Bytes(5)), Status::too_long);
  EXPECT_EQ(end_of(*stream), End::open);
  EXPECT_EQ(write(*stream, 4), Status::ok);
  EXPECT_EQ(end_of(*stream), End::complete);  // Nobody needs to close it.
  EXPECT_EQ(write(*stream, 1), Status::too_long);
  EXPECT_EQ(write(*stream, 0), Status::ok);
  EXPECT_TRUE(stream->is_worth_a_look(1'000'000));  // No more comes.
  stream->abort(nullptr);
  EXPECT_EQ(end_of(*stream), End::complete);
  EXPECT_EQ(Reader(*stream).take_all(), stream_bytes(0, 10));
  EXPECT_EQ(live.load(), 0);
}

/// A length of 2^62 allocated, or was added to something and overflowed.
TEST(ByteStream, AllocatesNothingForAForgedLength) {
  for (std::uint64_t const length : {std::uint64_t{1} << 62, UINT64_MAX - 1}) {
    const auto stream = open_stream({.content_length = length});
    ASSERT_EQ(write(*stream, 100), Status::ok);
    EXPECT_FALSE(stream->is_worth_a_look(101));
    Reader reader(*stream);
    EXPECT_LE(reader->piece(1).kept, 65536U);
    EXPECT_EQ(reader.take_all(), stream_bytes(0, 100));
    stream->close();
    EXPECT_EQ(reader->end(), End::truncated);
  }
}

TEST(ByteStream, IsAbortedByWhatExceedsItsLimit) {
  const auto stream = open_stream({.limit = 10});
  ASSERT_EQ(write(*stream, 10), Status::ok);
  EXPECT_EQ(end_of(*stream), End::open);
  EXPECT_EQ(write(*stream, 1), Status::limit);
  EXPECT_EQ(write(*stream, 1), Status::closed);
  Reader reader(*stream);
  EXPECT_EQ(reader->end(), End::aborted);
  ASSERT_NE(reader->reason(), nullptr);
  wire::Reader term(reader->reason()->bytes());
  wire::Item item{};
  ASSERT_EQ(term.next(item), Status::ok);
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(item.bytes.data()), item.bytes.size()),
            "limit");
  EXPECT_TRUE(term.at_end());
  EXPECT_EQ(reader.take_all(), stream_bytes(0, 10));  // What came before is there.
}

TEST(ByteStream, IsFullExactlyAtItsBound) {
  std::atomic<int> live{0};
  const auto stream = open_stream({.max_unread = 100});
  EXPECT_EQ(write(*stream, 101), Status::too_large);
  ASSERT_EQ(write(*stream, 60), Status::ok);
  EXPECT_FALSE(stream->is_worth_a_look(61));
  EXPECT_EQ(write(*stream, 41), Status::full);
  EXPECT_TRUE(stream->is_worth_a_look(61));  // A writer is pressed.
  EXPECT_EQ(write_by_reference(*stream, live, Bytes(41)), Status::full);
  EXPECT_EQ(live.load(), 0);
  EXPECT_EQ(write(*stream, 40), Status::ok);
  EXPECT_EQ(write(*stream, 1), Status::full);
  EXPECT_EQ(write(*stream, 0), Status::ok);
  EXPECT_EQ(Reader(*stream).take(30), stream_bytes(0, 30));
  EXPECT_EQ(write(*stream, 31), Status::full);
  EXPECT_EQ(write(*stream, 30), Status::ok);
  Reader(*stream)->relieve();  // As if all were read.
  EXPECT_FALSE(stream->is_worth_a_look(131));
  EXPECT_EQ(write(*stream, 100), Status::ok);
  EXPECT_EQ(Reader(*stream).take_all(), stream_bytes(30, 200));
  EXPECT_EQ(write(*stream, 90), Status::ok);
  Reader(*stream)->seek(0);  // Unread again, but for what readers were relieved of.
  EXPECT_EQ(write(*stream, 1), Status::full);
  Reader(*stream)->seek(240);
  EXPECT_EQ(write(*stream, 20), Status::ok);
}

TEST(ByteStream, AcceptsAnyBoundAndPosition) {
  const auto stream = open_stream({.max_unread = UINT64_MAX});
  EXPECT_EQ(write(*stream, 5'000), Status::ok);
  EXPECT_FALSE(stream->is_worth_a_look(UINT64_MAX));
  ThreadWaiter me;
  ThreadWaiter::Wake woken{};
  EXPECT_EQ(stream->await(UINT64_MAX, 0, me, &woken), Status::empty);
  EXPECT_EQ(woken, ThreadWaiter::Wake::timeout);
  EXPECT_EQ(stream->await(5'000, 0, me, &woken), Status::ok);
  stream->want_room(UINT64_MAX - 10'000);
  EXPECT_EQ(stream->data_waiters().waiting() + stream->space_waiters().waiting(), 0U);
}

TEST(ByteStream, HasTheEndThatCameFirst) {
  const auto reason = [] { return std::make_unique<Message>(); };
  for (const bool announced : {false, true}) {
    const ByteStream::Options options{.content_length = announced ? 10 : ByteStream::kUnknown};
    auto stream = open_stream(options);
    ASSERT_EQ(write(*stream, 5), Status::ok);
    stream->close();
    stream->abort(reason());
    EXPECT_EQ(end_of(*stream), announced ? End::truncated : End::complete);
    EXPECT_EQ(Reader(*stream)->reason(), nullptr);
    EXPECT_TRUE(stream->is_closed());
    EXPECT_FALSE(stream->is_closed_by_reader());
    EXPECT_EQ(write(*stream, 1), Status::closed);
    EXPECT_EQ(write(*stream, 0), Status::closed);
    EXPECT_TRUE(stream->is_worth_a_look(6));
    EXPECT_EQ(Reader(*stream).take_all(), stream_bytes(0, 5));

    stream = open_stream(options);
    auto first = reason();
    const Message* const expected = first.get();
    stream->abort(std::move(first));
    stream->abort(reason());
    stream->close();
    EXPECT_EQ(end_of(*stream), End::aborted);
    EXPECT_EQ(Reader(*stream)->reason(), expected);

    // The readers' own end is no error to them, and wins over any other.
    for (const bool aborted : {false, true}) {
      stream = open_stream(options);
      if (aborted) stream->abort(reason());
      stream->close_by_reader();
      stream->close_by_reader();
      EXPECT_TRUE(stream->is_closed() && stream->is_closed_by_reader());
      EXPECT_EQ(end_of(*stream), End::complete);
      EXPECT_EQ(write(*stream, 1), Status::closed);
    }
  }
}

TEST(ByteStream, SeeksToWhateverItRetains) {
  std::atomic<int> live{0};
  const auto stream = open_stream();
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(write(*stream, 3'000), Status::ok);
    ASSERT_EQ(write_by_reference(*stream, live, stream_bytes(stream->written(), 777)), Status::ok);
  }
  EXPECT_EQ(stream->pinned(), 20 * 777U);
  std::uint64_t const written = stream->written();
  Reader reader(*stream);
  reader->consume(written);
  EXPECT_EQ(reader->base(), 0U);
  test::Random random(1);
  for (int step = 0; step < 500; ++step) {
    std::uint64_t const position = random.below(written + 1);
    reader->seek(position);
    ASSERT_EQ(stream->position(), position);
    const auto count = static_cast<std::size_t>(random.below(written - position + 1));
    ASSERT_EQ(reader.take(count), stream_bytes(position, count));
  }
}

TEST(ByteStream, FreesWhatWasReadUnlessItRetains) {
  std::atomic<int> live{0};
  const auto stream = open_stream({.retains = false});
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(write_by_reference(*stream, live, stream_bytes(stream->written(), 1'000)),
              Status::ok);
  }
  Reader reader(*stream);
  reader->consume(999);
  EXPECT_EQ(live.load(), 3);
  reader->consume(1);
  EXPECT_EQ(live.load(), 2);
  EXPECT_EQ(reader->base(), 1'000U);
  EXPECT_EQ(stream->pinned(), 2'000U);
  reader->consume(2'000);
  EXPECT_LE(live.load(), 1);  // The last one may still be what a writer adds to.
  ASSERT_EQ(write(*stream, 10), Status::ok);
  EXPECT_EQ(reader.take_all(), stream_bytes(3'000, 10));
  EXPECT_EQ(live.load(), 0);
  EXPECT_EQ(stream->pinned(), 0U);
}

/// Views of one chunk outlive their bytes' consumption and the stream.
TEST(ByteStream, ViewsOutliveEverything) {
  std::atomic<int> live{0};
  std::vector<ByteStream::Reading::Piece> pieces;
  {
    const auto stream = open_stream({.retains = false});
    ASSERT_EQ(write(*stream, 100), Status::ok);
    ASSERT_EQ(write_by_reference(*stream, live, stream_bytes(100, 100)), Status::ok);
    Reader reader(*stream);
    EXPECT_EQ(reader->piece(101).data, nullptr);
    for (int i = 0; i < 20; ++i) {
      pieces.push_back(reader->piece(10));
      ASSERT_NE(pieces.back().data, nullptr);
      EXPECT_GE(pieces.back().kept, 100U);
      reader->consume(10);
    }
    ASSERT_EQ(write(*stream, 10), Status::ok);
    reader->consume(10);
  }
  EXPECT_EQ(live.load(), 1);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(Bytes(pieces[i].data, pieces[i].data + 10), stream_bytes(10 * i, 10));
  }
  pieces.clear();
  EXPECT_EQ(live.load(), 0);
}

/// Every allocation of this fails once: nothing is changed then, and later writes go well.
TEST(ByteStream, StaysAsItIsWhereverMemoryRunsOut) {
  std::atomic<int> live{0};
  bool finished = false;
  for (unsigned long countdown = 1; !finished; ++countdown) {
    ASSERT_LT(countdown, 100U);
    finished = true;
    const auto stream = open_stream({.retains = false});
    const test::FailingMemory failing(countdown);
    for (std::size_t i = 0; i < 40; ++i) {
      Bytes bytes = stream_bytes(stream->written(), 500 * i);
      Ref<wire::PinnedBytes> pinned =
          i % 5 == 4 ? test::owned(live, bytes) : Ref<wire::PinnedBytes>{};
      std::uint64_t const before = stream->written();
      const auto attempt = [&] { return pinned ? stream->write(pinned) : stream->write(bytes); };
      Status status = attempt();
      if (status != Status::ok) {
        finished = false;
        ASSERT_EQ(status, Status::out_of_memory);
        ASSERT_EQ(stream->written(), before);
        ASSERT_EQ(static_cast<bool>(pinned), i % 5 == 4);
        memory::fail_after(0);
        status = attempt();
      }
      ASSERT_EQ(status, Status::ok);
      ASSERT_EQ(stream->written(), before + bytes.size());
    }
    Reader reader(*stream);
    ASSERT_EQ(reader.take_all(), stream_bytes(0, stream->written()));
  }
  EXPECT_EQ(live.load(), 0);
}

TEST(ByteStream, TellsAWriterInLineThatNobodyReads) {
  const auto stream = open_stream({.max_unread = 10});
  EXPECT_EQ(stream->full_or_abandoned(), Status::full);  // A reader may still come.
  stream->add_reader();
  stream->add_reader();
  stream->remove_reader();
  EXPECT_EQ(stream->full_or_abandoned(), Status::full);
  stream->remove_reader();
  EXPECT_EQ(stream->full_or_abandoned(), Status::no_reader);
  stream->add_reader();
  EXPECT_EQ(stream->full_or_abandoned(), Status::full);
}

TEST(ByteStream, HasOneReaderAtATime) {
  const auto stream = open_stream();
  ASSERT_TRUE(stream->try_begin_reading());
  EXPECT_FALSE(stream->try_begin_reading());
  stream->end_reading();
  const Reader reader(*stream);
  EXPECT_FALSE(stream->try_begin_reading());
}

}  // namespace
}  // namespace penstock
