// SPDX-License-Identifier: Apache-2.0
// What may leave a process, and what may come from another one.
#include "penstock/portable.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "penstock/bytes.hpp"

namespace penstock::wire {
namespace {

struct Thing final : public Object {};

/// Knows one atom, one pid and one call.
class Ends final : public Porter {
 public:
  static constexpr std::uint64_t kAtom = 0x4B, kPid = 0x13, kCallToken = 7;
  std::size_t atom_name(std::uint64_t word, std::span<char> name, bool* ok) noexcept override {
    *ok = word == kAtom;
    return *ok ? std::string("an atom").copy(name.data(), name.size()) : 0;
  }
  Status token_of(HandleKind kind, Object& object, std::uint64_t* token) noexcept override {
    if (kind != HandleKind::call || &object != call.get()) return Status::not_shared;
    *token = kCallToken;
    return Status::ok;
  }
  Status object_of(HandleKind kind, std::uint64_t token, Ref<Object>* object) noexcept override {
    if (kind != HandleKind::call || token != kCallToken) return Status::corrupt;
    *object = Ref<Object>::borrow(call.get());
    return Status::ok;
  }
  bool is_pid(std::uint64_t word) noexcept override { return word == kPid; }

  const Ref<Thing> call = Ref<Thing>::steal(new Thing);
};

std::vector<std::uint8_t> copy_of(const Message& message) {
  return {message.bytes().begin(), message.bytes().end()};
}

TEST(Portable, WhatIsNoAddressIsCopied) {
  Ends ends;
  Message ours;
  Writer writer(ours);
  ASSERT_TRUE(writer.tuple(4) && writer.integer(1) && writer.list(2) && writer.floating(1.5) &&
              writer.atom("x") && writer.end_list() && writer.map(1) && writer.tag(kTrue) &&
              writer.bytes(kBytes, std::vector<std::uint8_t>{1, 2}) && writer.pid_word(Ends::kPid));
  Message out;
  ASSERT_EQ(to_portable(ours.bytes(), ends, out), Status::ok);
  EXPECT_EQ(copy_of(out), copy_of(ours));
  Message back;
  ASSERT_EQ(from_portable(out.bytes(), ends, back), Status::ok);
  EXPECT_EQ(copy_of(back), copy_of(ours));
}

TEST(Portable, AtomsLeaveAsNames) {
  Ends ends;
  Message ours;
  Writer writer(ours);
  ASSERT_TRUE(writer.tuple(3) && writer.atom_word(Ends::kAtom) && writer.integer(2) &&
              writer.atom_word(Ends::kAtom));
  Message out;
  ASSERT_EQ(to_portable(ours.bytes(), ends, out), Status::ok);
  Message expected;
  Writer names(expected);
  ASSERT_TRUE(names.tuple(3) && names.atom("an atom") && names.integer(2) && names.atom("an atom"));
  EXPECT_EQ(copy_of(out), copy_of(expected));
  Message strange;
  ASSERT_TRUE(Writer(strange).atom_word(1));
  EXPECT_EQ(to_portable(strange.bytes(), ends, out), Status::corrupt);
}

TEST(Portable, CallsLeaveAsTokensAndComeBack) {
  Ends ends;
  Message ours;
  Writer writer(ours);
  ASSERT_TRUE(writer.tuple(2) && writer.integer(0) &&
              writer.handle(HandleKind::call, Ref<Object>::borrow(ends.call.get())));
  Message out;
  ASSERT_EQ(to_portable(ours.bytes(), ends, out), Status::ok);
  EXPECT_FALSE(out.owns_objects());
  Message back;
  ASSERT_EQ(from_portable(out.bytes(), ends, back), Status::ok);
  EXPECT_TRUE(back.owns_objects());
  EXPECT_EQ(copy_of(back), copy_of(ours));
}

TEST(Portable, WhatLivesHereIsNotShared) {
  Ends ends;
  for (const HandleKind kind : {HandleKind::channel, HandleKind::stream, HandleKind::inbox}) {
    Message ours;
    Writer writer(ours);
    ASSERT_TRUE(writer.list(1) && writer.handle(kind, Ref<Object>::steal(new Thing)) &&
                writer.end_list());
    Message out;
    EXPECT_EQ(to_portable(ours.bytes(), ends, out), Status::not_shared);
  }
}

TEST(Portable, AddressesFromElsewhereAreRefused) {
  Ends ends;
  std::vector<std::vector<std::uint8_t>> cases;
  const auto add = [&](const Message& message) { cases.push_back(copy_of(message)); };
  {
    Message message;
    ASSERT_TRUE(Writer(message).atom_word(Ends::kAtom));
    add(message);
  }
  {
    Message message;
    ASSERT_TRUE(Writer(message).pid_word(Ends::kPid + 1));
    add(message);
  }
  for (const auto& [kind, token] : {std::pair{HandleKind::call, Ends::kCallToken + 1},
                                    std::pair{HandleKind::channel, Ends::kCallToken},
                                    std::pair{static_cast<HandleKind>(99), Ends::kCallToken}}) {
    Message message;
    ASSERT_TRUE(Writer(message).token(kind, token));
    add(message);
  }
  for (const auto& external : {std::vector<std::uint8_t>{131, 80, 0, 0, 0, 9},
                               std::vector<std::uint8_t>{131}, std::vector<std::uint8_t>{97, 1}}) {
    Message message;
    ASSERT_TRUE(Writer(message).opaque(OpaqueKind::pid, external));
    add(message);
  }
  // Handles, and bytes that are pinned somewhere.
  cases.push_back({kHandle, 1, 8, 0, 0, 0, 0, 0, 0, 0});
  cases.push_back({kPinned, 0, 8, 0, 0, 0, 0, 0, 0, 0});
  cases.push_back({kSmallTuple, 3, kSmallInteger, 1});
  for (const auto& bytes : cases) {
    Message back;
    EXPECT_EQ(from_portable(bytes, ends, back), Status::corrupt) << int{bytes[0]};
  }
}

/// What Python keeps as a reference does not become a fun when it comes back.
TEST(Portable, AnOpaqueTermIsOfItsKind) {
  constexpr std::uint8_t kTags[4][3] = {{88, 103}, {90, 114, 101}, {120, 89, 102}, {112, 113}};
  for (int kind = 0; kind < 5; ++kind) {
    for (int tag = 0; tag < 256; ++tag) {
      const bool is_its =
          kind < 4 && tag != 0 && std::ranges::find(kTags[kind], tag) != std::end(kTags[kind]);
      const std::uint8_t external[] = {131, static_cast<std::uint8_t>(tag), 0, 0};
      EXPECT_EQ(may_be_external(static_cast<std::uint8_t>(kind), external), is_its)
          << kind << ' ' << tag;
    }
  }
}

TEST(Portable, AnythingIsReadWithoutHarm) {
  Ends ends;
  std::mt19937 chance(1);
  constexpr std::uint8_t kTags[] = {1,  2,  3,   4,   5,   6,   7,   8,   9,   10,  11,  70,
                                    97, 98, 104, 105, 106, 108, 109, 110, 111, 116, 118, 119};
  for (int round = 0; round < 200'000; ++round) {
    std::vector<std::uint8_t> bytes(chance() % 40);
    for (std::uint8_t& byte : bytes) {
      const auto kind = chance() % 3;
      byte = kind == 0   ? kTags[chance() % std::size(kTags)]
             : kind == 1 ? static_cast<std::uint8_t>(chance() % 3)
                         : static_cast<std::uint8_t>(chance());
    }
    Message back;
    (void)from_portable(bytes, ends, back);
  }
}

}  // namespace
}  // namespace penstock::wire
