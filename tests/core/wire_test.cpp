// SPDX-License-Identifier: Apache-2.0
#include "penstock/wire.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>

#include "support.hpp"

namespace penstock::wire {
namespace {

/// A copy of exactly the bytes, so that AddressSanitizer sees the first one read outside.
class Exact {
 public:
  explicit Exact(std::span<const std::uint8_t> bytes)
      : copy_(new std::uint8_t[bytes.size()]), size_(bytes.size()) {
    if (!bytes.empty()) std::memcpy(copy_.get(), bytes.data(), bytes.size());
  }
  [[nodiscard]] std::span<const std::uint8_t> bytes() const { return {copy_.get(), size_}; }

 private:
  std::unique_ptr<std::uint8_t[]> copy_;
  std::size_t size_;
};

Item only_item(const Message& message) {
  Item item{};
  Reader reader(message.bytes());
  EXPECT_EQ(reader.next(item), Status::ok);
  EXPECT_TRUE(reader.at_end());
  return item;
}

TEST(Wire, WritesIntegersInTheirShortestForm) {
  struct {
    std::int64_t value;
    Tag tag;
    std::size_t bytes;
  } const cases[] = {{0, kSmallInteger, 2},
                     {255, kSmallInteger, 2},
                     {256, kInteger, 5},
                     {-1, kInteger, 5},
                     {INT32_MAX, kInteger, 5},
                     {INT32_MIN, kInteger, 5},
                     {INT32_MAX + 1LL, kSmallBig, 7},
                     {INT32_MIN - 1LL, kSmallBig, 7},
                     {INT64_MAX, kSmallBig, 11},
                     {INT64_MIN, kSmallBig, 11}};
  for (const auto& [value, tag, bytes] : cases) {
    Message message;
    ASSERT_TRUE(Writer(message).integer(value));
    EXPECT_EQ(message.size(), bytes) << value;
    const Item item = only_item(message);
    ASSERT_EQ(item.tag, tag) << value;
    if (tag != kSmallBig) {
      EXPECT_EQ(item.integer, value);
      continue;
    }
    std::uint64_t magnitude = 0;
    for (std::size_t i = item.bytes.size(); i-- > 0;) magnitude = magnitude << 8 | item.bytes[i];
    EXPECT_EQ(item.kind, value < 0 ? 1 : 0);
    EXPECT_EQ(value < 0 ? 0 - magnitude : magnitude, static_cast<std::uint64_t>(value));
  }
}

TEST(Wire, WritesUnsignedIntegersBeyondTheSignedOnes) {
  Message message;
  ASSERT_TRUE(Writer(message).unsigned_integer(UINT64_MAX));
  const Item item = only_item(message);
  EXPECT_EQ(item.tag, kSmallBig);
  EXPECT_EQ(item.kind, 0);
  EXPECT_EQ(item.bytes.size(), 8U);
  message.clear();
  ASSERT_TRUE(Writer(message).unsigned_integer(7));
  EXPECT_EQ(only_item(message).integer, 7);
}

TEST(Wire, WritesBigIntegersWithoutLeadingZeros) {
  for (std::size_t const size : {0U, 1U, 255U, 256U, 70'000U}) {
    std::vector<std::uint8_t> magnitude(size, 0xAB);
    magnitude.insert(magnitude.end(), 5, 0);
    Message message;
    ASSERT_TRUE(Writer(message).big_integer(true, magnitude));
    const Item item = only_item(message);
    EXPECT_EQ(item.tag, size <= 255 ? kSmallBig : kLargeBig);
    EXPECT_EQ(item.kind, 1);
    EXPECT_EQ(item.bytes.size(), size);
  }
  Message zero;
  ASSERT_TRUE(Writer(zero).big_integer(false, {}));
  EXPECT_TRUE(only_item(zero).bytes.empty());
}

TEST(Wire, KeepsFloatsExactly) {
  for (const double value : {0.0, -0.0, 1.5, -1e308, std::numeric_limits<double>::denorm_min(),
                             std::numeric_limits<double>::max()}) {
    Message message;
    ASSERT_TRUE(Writer(message).floating(value));
    const Item item = only_item(message);
    EXPECT_EQ(item.tag, kFloat);
    EXPECT_EQ(std::signbit(item.floating), std::signbit(value));
    EXPECT_EQ(item.floating, value);
  }
}

TEST(Wire, RefusesFloatsThatErlangDoesNotHave) {
  for (const double value : {std::numeric_limits<double>::infinity(), -HUGE_VAL,
                             std::numeric_limits<double>::quiet_NaN()}) {
    Message message;
    ASSERT_TRUE(Writer(message).floating(value));
    Item item{};
    EXPECT_EQ(Reader(message.bytes()).next(item), Status::corrupt);
  }
}

TEST(Wire, ReadsWhatItWroteOfEveryOtherTag) {
  const std::vector<std::uint8_t> data{1, 2, 3, 4, 5};
  Message message;
  Writer writer(message);
  ASSERT_TRUE(writer.tuple(3) && writer.tag(kTrue) && writer.tag(kFalse) && writer.tag(kNone));
  ASSERT_TRUE(writer.tuple(256));
  for (int i = 0; i < 256; ++i) ASSERT_TRUE(writer.tag(kNil));
  ASSERT_TRUE(writer.list(1) && writer.integer(5) && writer.end_list());
  ASSERT_TRUE(writer.map(1) && writer.atom("key") && writer.bytes(kBinary, data));
  ASSERT_TRUE(writer.bytes(kBytes, data) && writer.bytes(kBytesTuple, {}));
  ASSERT_TRUE(writer.atom(std::string(256, 'x')) && writer.atom(""));
  ASSERT_TRUE(writer.atom_word(0x0123456789ABCDEF) && writer.pid_word(42));
  ASSERT_TRUE(writer.opaque(OpaqueKind::fun, data) && writer.opaque(OpaqueKind::pid, {}));

  const Exact exact(message.bytes());
  Reader reader(exact.bytes());
  Item item{};
  const auto next = [&] {
    EXPECT_EQ(reader.next(item), Status::ok);
    return item;
  };
  EXPECT_EQ(next().tag, kSmallTuple);
  EXPECT_EQ(item.count, 3U);
  EXPECT_EQ(next().tag, kTrue);
  EXPECT_EQ(next().tag, kFalse);
  EXPECT_EQ(next().tag, kNone);
  EXPECT_EQ(next().tag, kLargeTuple);
  EXPECT_EQ(item.count, 256U);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(next().tag, kNil);
  EXPECT_EQ(next().tag, kList);
  EXPECT_EQ(item.count, 1U);
  EXPECT_EQ(next().integer, 5);
  EXPECT_TRUE(reader.end_list());
  EXPECT_FALSE(reader.end_list());
  EXPECT_EQ(next().tag, kMap);
  EXPECT_EQ(item.count, 1U);
  EXPECT_EQ(next().tag, kSmallAtom);
  EXPECT_EQ(item.bytes.size(), 3U);
  EXPECT_EQ(next().tag, kBinary);
  EXPECT_TRUE(std::equal(data.begin(), data.end(), item.bytes.begin(), item.bytes.end()));
  EXPECT_EQ(next().tag, kBytes);
  EXPECT_EQ(next().tag, kBytesTuple);
  EXPECT_TRUE(item.bytes.empty());
  EXPECT_EQ(next().tag, kAtom);
  EXPECT_EQ(item.bytes.size(), 256U);
  EXPECT_EQ(next().tag, kSmallAtom);
  EXPECT_EQ(next().word, 0x0123456789ABCDEFU);
  EXPECT_EQ(next().tag, kPidWord);
  EXPECT_EQ(item.word, 42U);
  EXPECT_EQ(next().tag, kOpaque);
  EXPECT_EQ(item.kind, static_cast<std::uint8_t>(OpaqueKind::fun));
  EXPECT_EQ(item.bytes.size(), data.size());
  EXPECT_EQ(next().kind, static_cast<std::uint8_t>(OpaqueKind::pid));
  EXPECT_TRUE(reader.at_end());
  EXPECT_EQ(reader.next(item), Status::corrupt);
}

TEST(Wire, NamesAnAtomOfAtMost65535Bytes) {
  Message message;
  EXPECT_TRUE(Writer(message).atom(std::string(65535, 'a')));
  EXPECT_EQ(only_item(message).bytes.size(), 65535U);
  EXPECT_FALSE(Writer(message).atom(std::string(65536, 'a')));
}

TEST(Wire, HandsOutTheObjectsOfHandles) {
  std::atomic<int> live{0};
  {
    Message message;
    const Ref<Object> object = Ref<Object>::steal(new test::Counted(live, {}));
    ASSERT_TRUE(Writer(message).handle(HandleKind::call, object));
    const Item item = only_item(message);
    EXPECT_EQ(item.tag, kHandle);
    EXPECT_EQ(item.kind, static_cast<std::uint8_t>(HandleKind::call));
    EXPECT_EQ(item.object, object.get());
  }
  EXPECT_EQ(live.load(), 0);
}

/// Reads to the end or to the first fault, and touches all that it is given.
std::size_t read_all(std::span<const std::uint8_t> bytes) {
  Reader reader(bytes);
  Item item{};
  std::size_t items = 0;
  unsigned sum = 0;
  while (!reader.at_end() && reader.next(item) == Status::ok) {
    for (std::uint8_t const byte : item.bytes) sum += byte;
    if (item.tag == kSmallTuple || item.tag == kLargeTuple || item.tag == kList ||
        item.tag == kMap) {
      EXPECT_LE(item.count, bytes.size());
    }
    ++items;
  }
  return items + (sum == ~0U ? 1 : 0);
}

TEST(Wire, NeverReadsOutsideATruncatedMessage) {
  Message message;
  Writer writer(message);
  const std::vector<std::uint8_t> data(40, 7);
  ASSERT_TRUE(writer.tuple(2) && writer.list(3) && writer.integer(1) && writer.integer(-70'000) &&
              writer.integer(INT64_MIN) && writer.end_list() && writer.map(2) &&
              writer.atom("name") && writer.bytes(kBinary, data) && writer.floating(2.5) &&
              writer.opaque(OpaqueKind::reference, data) && writer.atom_word(3) &&
              writer.big_integer(false, std::vector<std::uint8_t>(300, 1)));
  for (std::size_t size = 0; size < message.size(); ++size) {
    const Exact exact(message.bytes().first(size));
    read_all(exact.bytes());
  }
}

TEST(Wire, NeverReadsOutsideRandomBytes) {
  test::Random random(5);
  const std::uint8_t tags[] = {1,  2,  3,   4,   5,   6,   7,   8,   9,   10,  70,  97,
                               98, 99, 104, 105, 106, 108, 109, 110, 111, 116, 118, 119};
  for (std::uint64_t round = 0; round < test::scaled(200'000); ++round) {
    std::vector<std::uint8_t> bytes(random.below(40));
    for (std::uint8_t& byte : bytes) {
      std::uint64_t const kind = random.below(3);
      byte = static_cast<std::uint8_t>(kind == 0   ? random.next()
                                       : kind == 1 ? tags[random.below(std::size(tags))]
                                                   : random.below(4));
    }
    const Exact exact(bytes);
    ASSERT_LE(read_all(exact.bytes()), bytes.size() + 1);
  }
}

/// A reader may reserve room by a count, so it must not be a lie.
TEST(Wire, RefusesCountsThatTheRestCannotHold) {
  for (const Tag tag : {kLargeTuple, kList, kMap}) {
    std::vector<std::uint8_t> bytes{tag, 0, 0, 0, 3, kNil, kNil, kNil, kNil, kNil, kNil};
    Item item{};
    EXPECT_EQ(Reader(bytes).next(item), Status::ok);
    bytes.resize(tag == kMap ? 10 : tag == kList ? 8 : 7);  // One element less than is needed.
    EXPECT_EQ(Reader(bytes).next(item), Status::corrupt) << int{tag};
    std::memset(&bytes[1], 0xFF, 4);
    EXPECT_EQ(Reader(bytes).next(item), Status::corrupt) << int{tag};
  }
}

TEST(Wire, RefusesTagsThatNoEncoderOfOursWrites) {
  for (unsigned tag = 0; tag < 256; ++tag) {
    std::vector<std::uint8_t> bytes(20, 0);
    bytes[0] = static_cast<std::uint8_t>(tag);
    Item item{};
    const bool known = (tag >= 1 && tag <= 11) || tag == 70 || tag == 97 || tag == 98 ||
                       (tag >= 104 && tag <= 106) || (tag >= 108 && tag <= 111) || tag == 116 ||
                       tag == 118 || tag == 119;
    EXPECT_EQ(Reader(bytes).next(item), known ? Status::ok : Status::corrupt) << tag;
  }
}

bool write_everything(Writer& writer, std::atomic<int>& live) {
  const std::vector<std::uint8_t> data(600, 7);
  return writer.tuple(9) && writer.integer(1) && writer.bytes(kBinary, data) &&
         writer.handle(HandleKind::channel, Ref<Object>::steal(new test::Counted(live, {}))) &&
         writer.opaque(OpaqueKind::port, data) &&
         writer.big_integer(false, std::vector<std::uint8_t>(2000, 1)) &&
         writer.pinned(PinnedAs::binary, Ref<PinnedBytes>::steal(new test::Counted(live, data))) &&
         writer.atom(std::string(4000, 'a')) && writer.bytes(kBytes, data) &&
         writer.handle(HandleKind::call, Ref<Object>::steal(new test::Counted(live, {})));
}

TEST(Wire, LeaksNothingWhereverMemoryRunsOut) {
  std::atomic<int> live{0};
  bool written = false;
  for (unsigned long countdown = 1; !written; ++countdown) {
    ASSERT_LT(countdown, 100U);
    Message message;
    {
      test::FailingMemory const failing(countdown);
      Writer writer(message);
      written = write_everything(writer, live);
    }
    if (written) {
      EXPECT_EQ(live.load(), 3);
      EXPECT_EQ(read_all(message.bytes()), 10U);
    }
    message.clear();
    EXPECT_EQ(live.load(), 0) << "countdown " << countdown;
  }
}

/// Handles that do not fit are released by the failing call itself.
TEST(Wire, TakesOverAReferenceAlsoWhenItFails) {
  std::atomic<int> live{0};
  Message message;
  ASSERT_NE(message.extend(Message::kInside - 3), nullptr);
  std::memset(const_cast<std::uint8_t*>(message.bytes().data()), kNil, message.size());
  test::FailingMemory const none(1);
  Writer writer(message);
  EXPECT_FALSE(writer.handle(HandleKind::call, Ref<Object>::steal(new test::Counted(live, {}))));
  EXPECT_EQ(live.load(), 0);
  EXPECT_FALSE(
      writer.pinned(PinnedAs::binary, Ref<PinnedBytes>::steal(new test::Counted(live, {}))));
  EXPECT_EQ(live.load(), 0);
  EXPECT_FALSE(message.owns_objects());
}

/// An encoder that gave up in the middle of a container leaves fewer elements than announced.
TEST(Wire, ReleasesTheObjectsOfAnUnfinishedMessage) {
  std::atomic<int> live{0};
  {
    Message message;
    Writer writer(message);
    ASSERT_TRUE(writer.list(1000) && writer.map(500) &&
                writer.handle(HandleKind::call, Ref<Object>::steal(new test::Counted(live, {}))) &&
                writer.tuple(77) &&
                writer.handle(HandleKind::call, Ref<Object>::steal(new test::Counted(live, {}))));
    EXPECT_EQ(live.load(), 2);
  }
  EXPECT_EQ(live.load(), 0);
}

}  // namespace
}  // namespace penstock::wire
