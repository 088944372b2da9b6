// SPDX-License-Identifier: Apache-2.0
// When a loop looks out for events before it sleeps, and for how long.
#include "penstock/io_uring/lookout.hpp"

#include <gtest/gtest.h>

#include "penstock/shim.hpp"

namespace penstock::io_uring {
namespace {

constexpr std::int64_t kLimit = 20'000;

/// Whether it looks at all. Nothing is found.
bool looks_in_vain(Lookout& lookout, std::int64_t deadline = kNoDeadline) {
  bool looked = false;
  const auto ready = [&] {
    looked = true;
    return false;
  };
  EXPECT_FALSE(lookout.look(deadline, ready));
  return looked;
}

bool finds(Lookout& lookout) {
  return lookout.look(kNoDeadline, [] { return true; });
}

TEST(Lookout, LooksForAsLongAsItMay) {
  Lookout lookout(kLimit);
  std::int64_t const start = now_ns();
  EXPECT_TRUE(looks_in_vain(lookout));
  EXPECT_GE(now_ns() - start, kLimit);
}

TEST(Lookout, TriesEachThirtySecondWaitWhereItDoesNotPay) {
  Lookout lookout(kLimit);
  for (int wait = 0; wait < 100; ++wait) EXPECT_EQ(looks_in_vain(lookout), wait % 32 == 0) << wait;
}

TEST(Lookout, GoesOnWhereItPays) {
  Lookout lookout(kLimit);
  for (int wait = 0; wait < 100; ++wait) EXPECT_TRUE(finds(lookout)) << wait;
}

TEST(Lookout, EndsAfterTwoInVain) {
  Lookout lookout(kLimit);
  for (int wait = 0; wait < 100; ++wait) EXPECT_TRUE(finds(lookout)) << wait;
  EXPECT_TRUE(looks_in_vain(lookout));
  EXPECT_TRUE(looks_in_vain(lookout));
  for (int wait = 1; wait < 32; ++wait) EXPECT_FALSE(looks_in_vain(lookout)) << wait;
  EXPECT_TRUE(looks_in_vain(lookout));  // A trial.
}

TEST(Lookout, RestsWhileSeveralSendMuch) {
  Lookout lookout(kLimit);
  EXPECT_TRUE(finds(lookout));
  lookout.note_much(7);
  for (int wait = 0; wait < 16; ++wait) EXPECT_FALSE(looks_in_vain(lookout)) << wait;
  EXPECT_TRUE(finds(lookout));
  for (int wait = 0; wait < 100; ++wait) {
    lookout.note_much(7);  // One alone.
    EXPECT_TRUE(finds(lookout)) << wait;
  }
  for (int wait = 0; wait < 100; ++wait) {
    lookout.note_much(wait % 2);
    EXPECT_FALSE(looks_in_vain(lookout)) << wait;
  }
}

TEST(Lookout, EndsAtTheDeadlineAndLearnsNothingFromIt) {
  Lookout lookout(60'000'000'000);
  EXPECT_TRUE(finds(lookout));
  for (int wait = 0; wait < 10; ++wait) {
    std::int64_t const deadline = now_ns() + kLimit;
    EXPECT_TRUE(looks_in_vain(lookout, deadline));
    EXPECT_GE(now_ns(), deadline);
  }
}

TEST(Lookout, HasALimitThatCanBeSet) {
  std::int64_t const usual = Lookout::limit_of(nullptr);
  EXPECT_TRUE(usual == 50'000 || usual == 0);
  EXPECT_EQ(Lookout::limit_of("0"), 0);
  EXPECT_EQ(Lookout::limit_of("20"), 20'000);
  EXPECT_EQ(Lookout::limit_of("99999999"), 1'000'000);
  for (const char* const wrong : {"", "-1", "x", "1x", " 1", "1.5", "99999999999999999999"}) {
    EXPECT_EQ(Lookout::limit_of(wrong), usual) << wrong;
  }
}

TEST(Lookout, IsNotThereWhereItMayNotLook) {
  Lookout lookout(0);
  for (int wait = 0; wait < 100; ++wait) EXPECT_FALSE(looks_in_vain(lookout));
}

}  // namespace
}  // namespace penstock::io_uring
