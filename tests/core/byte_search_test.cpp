// SPDX-License-Identifier: Apache-2.0
// Searching a byte stream.
#include <gtest/gtest.h>

#include <ctime>
#include <string_view>

#include "streams.hpp"

namespace penstock {
namespace {

using test::Bytes;
using test::Reader;
using test::write_by_reference;

constexpr std::uint64_t kNowhere = ByteStream::Reading::kNowhere;

Bytes bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

/// What is expected of find(): the plainest search there is.
std::uint64_t naive(const Bytes& all, const Bytes& needle, std::uint64_t from, std::uint64_t to) {
  for (std::uint64_t at = from; at + needle.size() <= to; ++at) {
    if (std::equal(needle.begin(), needle.end(), all.begin() + static_cast<std::ptrdiff_t>(at))) {
      return at;
    }
  }
  return kNowhere;
}

/// A stream, and all that was written to it in one piece.
struct Text {
  Ref<ByteStream> stream = ByteStream::create({});
  std::atomic<int> live{0};
  Bytes all;

  /// In a chunk of its own, however small.
  void append_chunk(const Bytes& bytes) {
    ASSERT_EQ(write_by_reference(*stream, live, bytes), Status::ok);
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  void append(const Bytes& bytes) {
    ASSERT_EQ(stream->write(bytes), Status::ok);
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
};

/// Of an alphabet so small that parts of a needle are everywhere.
Bytes random_bytes(test::Random& random, std::size_t count, std::uint64_t letters) {
  Bytes bytes(count);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>('a' + random.below(letters));
  return bytes;
}

TEST(ByteSearch, FindsNeedlesOfEachLengthInEachChunking) {
  for (std::uint64_t seed = 1; seed <= test::scaled(120); ++seed) {
    test::Random random(seed);
    Text text;
    std::uint64_t const longest = 1 + random.below(40);
    while (text.all.size() < 400)
      text.append_chunk(random_bytes(random, 1 + random.below(longest), 2));
    Reader reader(*text.stream);
    std::uint64_t const skipped = random.below(50);
    reader->consume(skipped);
    for (std::size_t length = 1; length <= 80; ++length) {
      Bytes needle = random_bytes(random, length, 2);
      std::uint64_t const from = skipped + random.below(200);
      std::uint64_t const to = from + random.below(text.all.size() - from + 1);
      if (random.below(2) == 0 && length <= 120) {  // One that is there.
        const auto at = static_cast<std::ptrdiff_t>(from + random.below(100));
        needle.assign(text.all.begin() + at, text.all.begin() + at + std::ptrdiff_t(length));
      }
      ASSERT_EQ(reader->find(needle, from, to), naive(text.all, needle, from, to))
          << "seed " << seed << ", length " << length << ", from " << from << ", to " << to;
    }
  }
}

TEST(ByteSearch, FindsNeedlesAcrossManyChunks) {
  for (std::size_t const chunk : {1U, 3U, 100U}) {
    for (std::size_t const length : {2U, 96U, 97U, 256U, 257U, 600U}) {
      for (const bool has_memory : {true, false}) {
        Text text;
        const Bytes needle = test::stream_bytes(77, length);
        Bytes all(150, 0);
        all.insert(all.end(), needle.begin(), needle.end() - 1);  // All but its last byte.
        all.push_back(static_cast<std::uint8_t>(needle.back() + 1));
        std::uint64_t const there = all.size();
        all.insert(all.end(), needle.begin(), needle.end());
        for (std::size_t at = 0; at < all.size(); at += chunk) {
          const auto end = std::min(at + chunk, all.size());
          text.append_chunk({all.begin() + std::ptrdiff_t(at), all.begin() + std::ptrdiff_t(end)});
        }
        // Without memory it compares at each place.
        const test::FailingMemory failing(has_memory ? 0 : 1);
        Reader reader(*text.stream);
        ASSERT_EQ(reader->find(needle, 0, all.size()), there) << chunk << " " << length;
        ASSERT_EQ(reader->find(needle, there, all.size()), there);
        ASSERT_EQ(reader->find(needle, 0, all.size() - 1), kNowhere);
        ASSERT_EQ(reader->find(needle, there + 1, all.size()), kNowhere);
      }
    }
  }
}

TEST(ByteSearch, FindsNeedlesAtTheBordersOfGrownChunks) {
  Text text;
  while (text.all.size() < 200'000) text.append(Bytes(997, 'x'));
  const Bytes needle = bytes_of("\r\n--boundary");
  for (std::size_t const border : {4096 - sizeof(Chunk), 3 * (4096 - sizeof(Chunk))}) {
    for (std::size_t before = 0; before <= needle.size(); ++before) {
      Text marked;
      Bytes all(text.all);
      std::copy(needle.begin(), needle.end(), all.begin() + std::ptrdiff_t(border - before));
      for (std::size_t at = 0; at < all.size(); at += 997) {
        marked.append({all.begin() + std::ptrdiff_t(at),
                       all.begin() + std::ptrdiff_t(std::min(at + 997, all.size()))});
      }
      Reader reader(*marked.stream);
      ASSERT_EQ(reader->find(needle, 0, all.size()), border - before);
    }
  }
}

TEST(ByteSearch, HasPlainAnswersInBorderCases) {
  Text text;
  text.append(bytes_of("abcabc"));
  Reader reader(*text.stream);
  EXPECT_EQ(reader->find(Bytes{}, 2, 4), 2U);
  EXPECT_EQ(reader->find(Bytes{}, 6, 6), 6U);
  EXPECT_EQ(reader->find(Bytes{}, 4, 2), kNowhere);
  EXPECT_EQ(reader->find(bytes_of("a"), 4, 2), kNowhere);
  EXPECT_EQ(reader->find(std::uint8_t{'a'}, 4, 2), kNowhere);
  EXPECT_EQ(reader->find(bytes_of("abcabc"), 0, 6), 0U);
  EXPECT_EQ(reader->find(bytes_of("abcabcd"), 0, 6), kNowhere);
  EXPECT_EQ(reader->find(bytes_of("c"), 0, 6), 2U);
  EXPECT_EQ(reader->find(bytes_of("c"), 3, 6), 5U);
  EXPECT_EQ(reader->find(bytes_of("c"), 3, 5), kNowhere);
  EXPECT_EQ(reader->find(std::uint8_t{'c'}, 3, 6), 5U);
  EXPECT_EQ(reader->find(std::uint8_t{'c'}, 3, 5), kNowhere);
  EXPECT_EQ(reader->find(std::uint8_t{'d'}, 0, 6), kNowhere);
}

/// What is remembered of earlier searches never changes an answer: more arrives, the position moves
/// on and back, other places and other needles (more than are remembered) are asked for between.
TEST(ByteSearch, RemembersWithoutEverBeingWrong) {
  for (std::uint64_t seed = 1; seed <= test::scaled(40); ++seed) {
    test::Random random(seed);
    Text text;
    std::vector<Bytes> needles;
    for (std::size_t i = 0; i < 7; ++i) {
      // Long ones, so that searches are long; the last two are too long to be remembered.
      needles.push_back(random_bytes(random, i < 5 ? 11 + i : 90 + 5 * i, 2));
    }
    std::uint64_t from = 0;
    for (int step = 0; step < 120; ++step) {
      if (random.below(3) == 0) {
        text.append(random_bytes(random, random.below(3'000), 2));
      }
      if (random.below(20) == 0) text.append_chunk(needles[random.below(needles.size())]);
      Reader reader(*text.stream);
      if (random.below(6) == 0) reader->seek(random.below(reader->written() + 1));
      if (random.below(3) == 0) from = reader->position();
      if (random.below(6) == 0) from += random.below(5'000);
      from = std::clamp(from, reader->position(), reader->written());
      std::uint64_t const to = reader->written() - random.below(reader->written() - from + 1) / 8;
      const Bytes& needle = needles[random.below(needles.size())];
      std::uint64_t const found = reader->find(needle, from, to);
      ASSERT_EQ(found, naive(text.all, needle, from, to)) << "seed " << seed << ", step " << step;
      if (found != kNowhere && random.below(2) == 0) from = found + needle.size();
    }
  }
}

/// Long enough that searches are remembered.
TEST(ByteSearch, FindsWhatWasThereInPartOrIsAnotherOfTheSameLength) {
  Text text;
  text.append(Bytes(5'000, 'x'));
  text.append(bytes_of("ab--bounda"));
  Reader reader(*text.stream);
  for (const auto& needle : {bytes_of("--boundary"), bytes_of("cd"), bytes_of("ry")}) {
    EXPECT_EQ(reader->find(needle, 0, reader->written()), kNowhere);
  }
  EXPECT_EQ(reader->find(bytes_of("ab"), 0, reader->written()), 5'000U);
  text.append(bytes_of("r"));
  EXPECT_EQ(reader->find(bytes_of("--boundary"), 0, reader->written()), kNowhere);
  text.append(bytes_of("y"));
  EXPECT_EQ(reader->find(bytes_of("--boundary"), 0, reader->written() - 1), kNowhere);
  EXPECT_EQ(reader->find(bytes_of("--boundary"), 0, reader->written()), 5'002U);
  EXPECT_EQ(reader->find(bytes_of("ry"), 0, reader->written()), 5'010U);
  EXPECT_EQ(reader->find(bytes_of("cd"), 0, reader->written()), kNowhere);
}

/// What this thread has computed so far, however busy the machine is.
std::int64_t cpu_ns() {
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return std::int64_t{used.tv_sec} * 1'000'000'000 + used.tv_nsec;
}

/// A line of 20 MB that arrives in pieces of 1 KiB was searched from its beginning 20,000 times.
TEST(ByteSearch, LooksAtEachByteOnce) {
  Text text;
  const Bytes piece(1024, 'x');
  const Bytes needle = bytes_of("\r\n");
  std::int64_t const started = cpu_ns();
  std::uint64_t const pieces = test::scaled(20'000);
  for (std::uint64_t i = 0; i < pieces; ++i) {
    ASSERT_EQ(text.stream->write(piece), Status::ok);
    Reader reader(*text.stream);
    ASSERT_EQ(reader->find(needle, 0, reader->written()), kNowhere);
  }
  ASSERT_EQ(text.stream->write(needle), Status::ok);
  Reader reader(*text.stream);
  EXPECT_EQ(reader->find(needle, 0, reader->written()), pieces * 1024);
  // 200 GB would have been looked at, which takes 10 s and more.
  EXPECT_LT(cpu_ns() - started, 5'000'000'000);
}

}  // namespace
}  // namespace penstock
