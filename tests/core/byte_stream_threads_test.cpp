// SPDX-License-Identifier: Apache-2.0
// Byte streams under load, from several threads.
#include <gtest/gtest.h>

#include <thread>

#include "streams.hpp"

namespace penstock {
namespace {

using test::Bytes;
using test::scaled;
using Wake = ThreadWaiter::Wake;

/// A line of a stream: a record of this size that checks itself.
constexpr std::size_t kRecord = 32;

/// Writes all of it, in one piece, waiting for room: ok, closed or no_reader. Anything else, or a
/// hang, is a failure.
Status write_or_wait(ByteStream& stream, const Bytes& bytes) {
  Status status = stream.write(bytes);
  while (status == Status::full) {
    ThreadWaiter me;
    stream.space_waiters().add(me);
    stream.want_room(bytes.size());
    status = stream.write(bytes);
    if (status == Status::full && stream.full_or_abandoned() == Status::no_reader) {
      status = Status::no_reader;
    }
    if (status == Status::full) {
      EXPECT_EQ(me.park(test::deadline()), Wake::fired);
    }
    (void)me.leave(stream.space_waiters());
    if (testing::Test::HasFailure()) return status;
  }
  return status;
}

/// Waits until `count` bytes are there, or the end; then takes what there is of them.
Bytes read_or_wait(ByteStream& stream, std::size_t count) {
  for (;;) {
    std::uint64_t wanted = 0;
    {
      test::Reader reader(stream);
      const bool over = reader->end() != ByteStream::End::open;
      std::uint64_t const there = reader->available();
      if (there >= count || over) {
        return reader.take(static_cast<std::size_t>(std::min<std::uint64_t>(there, count)));
      }
      if (stream.options().max_unread != 0) reader->relieve();
      wanted = reader->position() + count;
    }
    ThreadWaiter me;
    Wake woken{};
    EXPECT_EQ(stream.await(wanted, test::deadline(), me, &woken), Status::ok);
    if (testing::Test::HasFailure()) return {};
  }
}

/// What all readers of a stream have taken: of each writer every record, once.
class Taken {
 public:
  explicit Taken(std::size_t writers) : seen_(writers) {}

  /// Records of one reader, in its order: those of each writer must ascend.
  void accept(const Bytes& bytes, std::vector<std::uint64_t>& last) {
    ASSERT_EQ(bytes.size() % kRecord, 0U);
    for (std::size_t at = 0; at < bytes.size(); at += kRecord) {
      test::Stamp stamp{};
      ASSERT_TRUE(test::read_record({bytes.data() + at, kRecord}, &stamp));
      ASSERT_LT(stamp.producer, seen_.size());
      ASSERT_GT(stamp.number + 1, last[stamp.producer]);
      last[stamp.producer] = stamp.number + 1;
      seen_[stamp.producer].count.fetch_add(1);
      seen_[stamp.producer].sum.fetch_add(stamp.number);
    }
  }
  void expect_each_once(std::uint64_t records) const {
    for (const Seen& it : seen_) {
      EXPECT_EQ(it.count.load(), records);
      EXPECT_EQ(it.sum.load(), records * (records - 1) / 2);
    }
  }

 private:
  struct Seen {
    std::atomic<std::uint64_t> count{0};
    std::atomic<std::uint64_t> sum{0};
  };
  std::vector<Seen> seen_;
};

struct Load {
  unsigned writers;
  unsigned readers;
  std::uint64_t max_unread;
  bool retains;
};

class ByteStreamUnderLoad : public testing::TestWithParam<Load> {};
INSTANTIATE_TEST_SUITE_P(Loads, ByteStreamUnderLoad,
                         testing::Values(Load{1, 1, 0, true}, Load{1, 1, 0, false},
                                         Load{3, 1, 0, false}, Load{1, 3, 0, true},
                                         Load{3, 3, 0, false}, Load{1, 1, 8 * kRecord, false},
                                         Load{3, 1, 8 * kRecord, false},
                                         Load{1, 3, 8 * kRecord, true},
                                         Load{3, 3, 8 * kRecord, false}));

TEST_P(ByteStreamUnderLoad, BringsEachRecordOnceAndInOrder) {
  const Load load = GetParam();
  std::uint64_t const records = scaled(60'000) / load.writers;
  std::atomic<int> live{0};
  const auto stream = ByteStream::create({.max_unread = load.max_unread, .retains = load.retains});
  Taken taken(load.writers);
  std::atomic<unsigned> writing{load.writers};
  {
    std::vector<std::jthread> threads;
    for (unsigned id = 0; id < load.writers; ++id) {
      threads.emplace_back([&, id] {
        test::Random random(id + 1);
        for (std::uint64_t number = 0; number < records;) {
          std::uint64_t const count = std::min(records - number, 1 + random.below(8));
          Bytes bytes(count * kRecord);
          for (std::uint64_t i = 0; i < count; ++i) {
            test::write_record({bytes.data() + i * kRecord, kRecord}, {id, number++});
          }
          if (load.max_unread == 0 && random.below(16) == 0) {
            ASSERT_EQ(test::write_by_reference(*stream, live, std::move(bytes)), Status::ok);
          } else {
            ASSERT_EQ(write_or_wait(*stream, bytes), Status::ok);
          }
        }
        if (writing.fetch_sub(1) == 1) stream->close();
      });
    }
    for (unsigned id = 0; id < load.readers; ++id) {
      threads.emplace_back([&, id] {
        test::Random random(100 + id);
        std::vector<std::uint64_t> last(load.writers, 0);
        for (;;) {
          // Up to twice of what a bounded stream holds.
          const Bytes bytes = read_or_wait(*stream, (1 + random.below(16)) * kRecord);
          if (bytes.empty()) return;
          ASSERT_NO_FATAL_FAILURE(taken.accept(bytes, last));
        }
      });
    }
  }
  taken.expect_each_once(records);
  EXPECT_EQ(stream->position(), stream->written());
  EXPECT_EQ(stream->data_waiters().waiting() + stream->space_waiters().waiting(), 0U);
}

/// Views are held, read and dropped by one thread while others read and write on.
TEST(ByteStream, ViewsStayWhatTheyAreUnderLoad) {
  const auto stream = ByteStream::create({.retains = false});
  std::uint64_t const total = scaled(40'000'000);
  std::jthread const writer([&] {
    test::Random random(1);
    for (std::uint64_t at = 0; at < total;) {
      std::uint64_t const count = std::min<std::uint64_t>(total - at, 1 + random.below(6'000));
      ASSERT_EQ(stream->write(test::stream_bytes(at, count)), Status::ok);
      at += count;
    }
    stream->close();
  });
  struct View {
    std::uint64_t position;
    ByteStream::Reading::Piece piece;
  };
  std::vector<View> views;
  constexpr std::size_t kView = 100;
  ThreadWaiter me;
  Wake woken{};
  for (bool over = false; !over;) {
    std::uint64_t wanted = 0;
    {
      test::Reader reader(*stream);
      over = reader->end() != ByteStream::End::open;
      while (reader->available() >= kView) {
        std::uint64_t const position = reader->position();
        auto piece = reader->piece(kView);
        if (piece.data != nullptr) views.push_back({position, std::move(piece)});
        reader->consume(kView);
      }
      wanted = reader->position() + kView;
    }
    for (const View& view : views) {
      for (std::size_t i = 0; i < kView; i += 9) {
        ASSERT_EQ(view.piece.data[i], test::stream_byte(view.position + i));
      }
    }
    if (views.size() > 1'000) views.clear();
    if (!over) {
      ASSERT_EQ(stream->await(wanted, test::deadline(), me, &woken), Status::ok);
    }
  }
  EXPECT_LT(stream->written() - stream->position(), kView);
}

/// Ends of each kind come while writers wait for room and readers for more: all of them return, and
/// what was accepted before the end is read.
TEST(ByteStream, LosesNothingToAnEndAtTheSameTime) {
  for (std::uint64_t round = 0; round < scaled(500); ++round) {
    const auto stream = ByteStream::create({.max_unread = round % 2 == 0 ? 0 : 4 * kRecord});
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> read{0};
    {
      std::vector<std::jthread> threads;
      for (int id = 0; id < 2; ++id) {
        threads.emplace_back([&] {
          for (int number = 0; number < 100; ++number) {
            const Status status = write_or_wait(*stream, Bytes(kRecord));
            if (status == Status::closed) return;
            ASSERT_EQ(status, Status::ok);
            accepted.fetch_add(kRecord);
          }
        });
        threads.emplace_back([&] {
          for (;;) {
            const Bytes bytes = read_or_wait(*stream, 6 * kRecord);
            if (bytes.empty()) return;
            read.fetch_add(bytes.size());
          }
        });
      }
      for (std::uint64_t turn = 0; turn < round % 100; ++turn) spin_pause(64);
      switch (round % 3) {
        case 0:
          stream->close();
          break;
        case 1:
          stream->abort(std::make_unique<Message>());
          break;
        default:
          stream->close_by_reader();
      }
      ASSERT_EQ(stream->write(Bytes(1)), Status::closed);
    }
    ASSERT_EQ(read.load(), accepted.load());
    ASSERT_EQ(stream->written(), accepted.load());
    ASSERT_EQ(stream->data_waiters().waiting() + stream->space_waiters().waiting(), 0U);
  }
}

TEST(ByteStream, WakesEveryWaiterWhenItEnds) {
  for (std::uint64_t round = 0; round < scaled(600); ++round) {
    const auto stream = ByteStream::create({.max_unread = 10});
    const bool full = round % 2 == 0;
    ASSERT_EQ(stream->write(Bytes(full ? 10 : 1)), Status::ok);
    std::vector<std::jthread> threads;
    for (std::uint64_t id = 0; id < 3; ++id) {
      threads.emplace_back([&, id] {
        if (full) {
          EXPECT_EQ(write_or_wait(*stream, Bytes(5)), Status::closed);
          return;
        }
        ThreadWaiter me;
        Wake woken{};
        while (!stream->is_closed()) {
          ASSERT_EQ(stream->await(5 + id, test::deadline(), me, &woken), Status::ok);
        }
      });
    }
    // From "nobody waits yet" to "all do".
    WaitList& line = full ? stream->space_waiters() : stream->data_waiters();
    test::Patience patience;
    while (line.waiting() < round % 4) ASSERT_TRUE(patience.another_turn());
    stream->close();
  }
}

TEST(ByteStream, TellsWaitingWritersThatTheLastReaderLeft) {
  for (std::uint64_t round = 0; round < scaled(600); ++round) {
    const auto stream = ByteStream::create({.max_unread = 10});
    stream->add_reader();
    ASSERT_EQ(stream->write(Bytes(10)), Status::ok);
    std::vector<std::jthread> threads;
    for (int id = 0; id < 2; ++id) {
      threads.emplace_back([&] { EXPECT_EQ(write_or_wait(*stream, Bytes(5)), Status::no_reader); });
    }
    test::Patience patience;
    while (stream->space_waiters().waiting() < round % 3) ASSERT_TRUE(patience.another_turn());
    stream->remove_reader();
  }
}

/// A writer that finds no room marks the stream, and the reader that takes the mark back must have
/// seen what left no room; StreamReaderMayWaitForMoreThanFits of tests/model, at full speed.
TEST(ByteStream, AReaderOfMoreThanFitsAndAWriterNeverWaitForEachOther) {
  std::uint64_t const rounds = scaled(8'000);
  const auto stream = ByteStream::create({.max_unread = 2, .retains = false});
  std::jthread const writer([&] {
    for (std::uint64_t round = 0; round < rounds; ++round) {
      for (int i = 0; i < 3; ++i) ASSERT_EQ(write_or_wait(*stream, Bytes(2)), Status::ok);
    }
  });
  for (std::uint64_t round = 0; round < rounds; ++round) {
    ASSERT_EQ(read_or_wait(*stream, 6).size(), 6U);
  }
}

/// Blocked readers notice an interrupt and a deadline.
TEST(ByteStream, BlockedReadersCanBeInterrupted) {
  const auto stream = ByteStream::create({});
  ThreadWaiter me;
  std::jthread const interrupter([&] {
    test::Patience patience;
    while (stream->data_waiters().waiting() == 0) ASSERT_TRUE(patience.another_turn());
    me.interrupt();
  });
  Wake woken{};
  EXPECT_EQ(stream->await(1, test::deadline(), me, &woken), Status::empty);
  EXPECT_EQ(woken, Wake::interrupted);
  ThreadWaiter another;
  EXPECT_EQ(stream->await(1, now_ns() + 1'000'000, another, &woken), Status::empty);
  EXPECT_EQ(woken, Wake::timeout);
  EXPECT_EQ(stream->data_waiters().waiting(), 0U);
}

}  // namespace
}  // namespace penstock
