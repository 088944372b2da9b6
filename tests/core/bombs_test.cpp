// SPDX-License-Identifier: Apache-2.0
// Terms that are meant to do harm, sent by a worker: refused, or read in a time and a memory that
// their length bounds.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ctime>
#include <string>
#include <vector>

#include "penstock/frame.hpp"
#include "penstock/link.hpp"
#include "penstock/portable.hpp"
#include "support.hpp"

namespace penstock::wire {
namespace {

using Bytes = std::vector<std::uint8_t>;

/// Nothing that the other end names is known here.
class Stranger final : public Porter {
 public:
  std::size_t atom_name(std::uint64_t, std::span<char>, bool* ok) noexcept override {
    *ok = false;
    return 0;
  }
  Status token_of(HandleKind, Object&, std::uint64_t*) noexcept override {
    return Status::not_shared;
  }
  Status object_of(HandleKind, std::uint64_t, Ref<Object>*) noexcept override {
    return Status::corrupt;
  }
  bool is_pid(std::uint64_t) noexcept override { return false; }
};

struct Bomb {
  std::string name;
  Bytes bytes;
  Status expected;
};

Bytes times(std::size_t count, const Bytes& part, const Bytes& end = {}) {
  Bytes all;
  for (std::size_t i = 0; i < count; ++i) all.insert(all.end(), part.begin(), part.end());
  all.insert(all.end(), end.begin(), end.end());
  return all;
}

Bytes joined(Bytes first, const Bytes& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

Bytes length(std::uint32_t value) {
  return {static_cast<std::uint8_t>(value >> 24), static_cast<std::uint8_t>(value >> 16),
          static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
}

/// What is there is well-formed, but there is much of it.
void add_floods(std::vector<Bomb>& bombs) {
  constexpr std::uint32_t kMany = 100'000;
  const Bytes list = joined({kList}, length(kMany));
  bombs.push_back({"tuples in tuples", times(kMany, {kSmallTuple, 1}, {kNil}), Status::ok});
  bombs.push_back({"lists in lists",
                   joined(times(kMany, {kList, 0, 0, 0, 1}, {kNil}), times(kMany, {kNil})),
                   Status::ok});
  bombs.push_back({"maps in keys",
                   joined(times(kMany, {kMap, 0, 0, 0, 1}, {kNil}), times(kMany, {kNil})),
                   Status::ok});
  bombs.push_back(
      {"empty tuples", joined(list, times(kMany, {kSmallTuple, 0}, {kNil})), Status::ok});
  bombs.push_back({"empty lists", joined(list, times(kMany, {kNil}, {kNil})), Status::ok});
  bombs.push_back(
      {"empty maps", joined(list, times(kMany, {kMap, 0, 0, 0, 0}, {kNil})), Status::ok});
  bombs.push_back(
      {"empty binaries", joined(list, times(kMany, {kBinary, 0, 0, 0, 0}, {kNil})), Status::ok});
  bombs.push_back({"one key",
                   joined(joined({kMap}, length(kMany)), times(kMany, {kSmallInteger, 1, kNil})),
                   Status::ok});
  Bytes atoms = list;
  for (std::uint32_t i = 0; i < kMany; ++i) {
    const std::string name = std::to_string(i);
    atoms.push_back(kSmallAtom);
    atoms.push_back(static_cast<std::uint8_t>(name.size()));
    atoms.insert(atoms.end(), name.begin(), name.end());
  }
  atoms.push_back(kNil);
  bombs.push_back({"a flood of atoms", std::move(atoms), Status::ok});
  bombs.push_back(
      {"a large integer",
       joined(joined({kLargeBig}, length(2 * kMany)), joined({0}, Bytes(2 * kMany, 0xFF))),
       Status::ok});
}

/// More is claimed than there is.
void add_claims(std::vector<Bomb>& bombs) {
  for (std::uint32_t const claim : {3U, 0x7FFFFFFFU, 0x80000000U, 0xFFFFFFFFU}) {
    const std::string of = " of " + std::to_string(claim);
    for (const auto& [tag, name] : {std::pair{kList, "a list"},
                                    {kLargeTuple, "a tuple"},
                                    {kMap, "a map"},
                                    {kBinary, "a binary"},
                                    {kBytes, "bytes"},
                                    {kBytesTuple, "a bytes tuple"}}) {
      bombs.push_back({name + of, joined(joined({tag}, length(claim)), {kNil}), Status::corrupt});
    }
    bombs.push_back(
        {"an integer" + of, joined(joined({kLargeBig}, length(claim)), {0, 1}), Status::corrupt});
    bombs.push_back({"a reference" + of, joined(joined({kOpaque, 1}, length(claim)), {131, 97}),
                     Status::corrupt});
    // Each claims what is left, and all together more.
    Bytes many;
    for (int i = 0; i < 1000; ++i) {
      many = joined(std::move(many), joined({kList}, length(1)));
      many = joined(std::move(many), joined({kLargeTuple}, length(claim)));
    }
    bombs.push_back({"tuples in lists" + of, std::move(many), Status::corrupt});
  }
}

/// What has no business between processes.
void add_strangers(std::vector<Bomb>& bombs) {
  // Of external term format: distribution header, compressed, cached atom, bit binary, pids, ports
  // and references of all kinds, text floats, old atoms, strings, exports and funs.
  for (const int tag : {68,  80,  82,  77,  88,  89,  90,  99,  100, 101, 102,
                        103, 107, 112, 113, 114, 115, 117, 120, 131, 0,   255}) {
    bombs.push_back({"tag " + std::to_string(tag),
                     joined({static_cast<std::uint8_t>(tag)}, Bytes(64, 1)), Status::corrupt});
  }
  const Bytes word(8, 0x41);
  bombs.push_back({"an atom word", joined({kAtomWord}, word), Status::corrupt});
  bombs.push_back({"a pid of nobody", joined({kPidWord}, word), Status::corrupt});
  bombs.push_back({"a handle", joined({kHandle, 0}, word), Status::corrupt});
  bombs.push_back({"pinned bytes", joined({kPinned, 0}, word), Status::corrupt});
  for (const int kind : {0, 1, 2, 3, 4, 255}) {
    bombs.push_back(
        {"a token", joined({kToken, static_cast<std::uint8_t>(kind)}, word), Status::corrupt});
  }
  bombs.push_back({"a compressed term", {kOpaque, 1, 0, 0, 0, 4, 131, 80, 0, 0}, Status::corrupt});
  bombs.push_back({"of another version", {kOpaque, 1, 0, 0, 0, 2, 130, 97}, Status::corrupt});
  bombs.push_back({"of no kind", {kOpaque, 9, 0, 0, 0, 2, 131, 97}, Status::corrupt});
  bombs.push_back({"not a number", {kFloat, 0x7F, 0xF8, 0, 0, 0, 0, 0, 0}, Status::corrupt});
  bombs.push_back({"infinity", {kFloat, 0xFF, 0xF0, 0, 0, 0, 0, 0, 0}, Status::corrupt});
}

std::vector<Bomb> all_bombs() {
  std::vector<Bomb> bombs;
  add_floods(bombs);
  add_claims(bombs);
  add_strangers(bombs);
  return bombs;
}

std::int64_t cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

constexpr std::int64_t kMost_ns = 5'000'000 * static_cast<std::int64_t>(test::kShare);

void expect_harmless(const Bomb& bomb, std::span<const std::uint8_t> bytes) {
  Stranger stranger;
  Message ours;
  std::int64_t const before = cpu_ns();
  EXPECT_EQ(from_portable(bytes, stranger, ours), bomb.expected) << bomb.name;
  EXPECT_LT(cpu_ns() - before, kMost_ns) << bomb.name;
  EXPECT_LE(ours.size(), bytes.size()) << bomb.name;
  EXPECT_FALSE(ours.owns_objects()) << bomb.name;
}

TEST(Bombs, AreRefusedOrReadInTheTimeThatTheirLengthTakes) {
  const std::vector<Bomb> bombs = all_bombs();
  EXPECT_GE(bombs.size(), 60U);
  for (const Bomb& bomb : bombs) expect_harmless(bomb, bomb.bytes);
}

/// Beside frames that are as they should be.
TEST(Bombs, HurtNoLink) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Segment segment = Segment::create_shared(Link::bytes());
  Segment theirs = Segment::attach(dup(segment.descriptor()), Link::bytes());
  const Ref<Link> vm = Link::create(std::move(segment), ends[0], Link::Side::vm);
  const Ref<Link> worker = Link::create(std::move(theirs), ends[1], Link::Side::worker);
  std::uint64_t number = 0;
  for (const Bomb& bomb : all_bombs()) {
    Message sent;
    ASSERT_TRUE(begin_frame(sent, FrameKind::answer, ++number));
    std::uint8_t* const room = sent.extend(bomb.bytes.size());
    ASSERT_NE(room, nullptr);
    std::memcpy(room, bomb.bytes.data(), bomb.bytes.size());
    ASSERT_EQ(worker->send(sent), Status::ok);
    Message frame;
    Status status = Status::empty;
    while (status == Status::empty) {  // What found no room the worker's end has to move on.
      status = vm->receive(frame, now_ns() + 1'000'000);
      Message none;
      (void)worker->receive(none, now_ns());
    }
    ASSERT_EQ(status, Status::ok) << bomb.name;
    FrameHead head{};
    std::span<const std::uint8_t> rest;
    ASSERT_TRUE(read_frame(frame.bytes(), &head, &rest));
    EXPECT_EQ(head.id, number);
    expect_harmless(bomb, rest);
  }
}

}  // namespace
}  // namespace penstock::wire
