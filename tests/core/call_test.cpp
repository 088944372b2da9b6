// SPDX-License-Identifier: Apache-2.0
#include "penstock/call.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "support.hpp"

namespace penstock {
namespace {

struct Answers {
  std::atomic<int> given{0};
  std::atomic<int> abandoned{0};
  std::atomic<int> cancelled{0};
};

class TestCall final : public Call {
 public:
  TestCall(Answers& answers, std::uint64_t caller) : Call(caller), answers_(answers) {}
  bool watch_caller() noexcept override { return true; }

 private:
  ~TestCall() override {
    if (abandon()) answers_.abandoned.fetch_add(1);
  }
  void answer(Outcome, const Message&) noexcept override { answers_.given.fetch_add(1); }
  Answers& answers_;
};

Ref<Call> make_call(Answers& answers) { return Ref<Call>::steal(new TestCall(answers, 17)); }

TEST(Call, AnswersOnceWhenItRuns) {
  Answers answers;
  const Message term;
  {
    const Ref<Call> call = make_call(answers);
    EXPECT_EQ(call->caller(), 17U);
    EXPECT_TRUE(call->start());
    EXPECT_FALSE(call->start());
    call->finish(Call::Outcome::ok_term, term);
    call->finish(Call::Outcome::error_term, term);
    EXPECT_FALSE(call->cancel());
    EXPECT_FALSE(call->is_cancelled());
  }
  EXPECT_EQ(answers.given, 1);
  EXPECT_EQ(answers.abandoned, 0);
}

TEST(Call, NeverStartsOnceCancelled) {
  Answers answers;
  {
    const Ref<Call> call = make_call(answers);
    EXPECT_TRUE(call->cancel());
    EXPECT_FALSE(call->cancel());
    EXPECT_TRUE(call->is_cancelled());
    EXPECT_FALSE(call->start());
  }
  EXPECT_EQ(answers.given + answers.abandoned, 0);
}

TEST(Call, DropsTheAnswerOfACancelledRun) {
  Answers answers;
  {
    const Ref<Call> call = make_call(answers);
    EXPECT_TRUE(call->start());
    EXPECT_TRUE(call->cancel());
    call->finish(Call::Outcome::ok, Message());
  }
  EXPECT_EQ(answers.given + answers.abandoned, 0);
}

TEST(Call, DoesNotAnswerBeforeItStarts) {
  Answers answers;
  {
    const Ref<Call> call = make_call(answers);
    call->finish(Call::Outcome::ok, Message());
    EXPECT_EQ(answers.given, 0);
  }
  EXPECT_EQ(answers.abandoned, 1);
}

TEST(Call, IsAbandonedWhenDroppedWhileRunning) {
  Answers answers;
  { EXPECT_TRUE(make_call(answers)->start()); }
  EXPECT_EQ(answers.abandoned, 1);
  EXPECT_EQ(answers.given, 0);
}

TEST(Call, EndsExactlyOnceWhoeverIsFirst) {
  std::uint64_t const rounds = test::scaled(50'000);
  Answers answers;
  std::atomic<Call*> current{nullptr};
  std::atomic<std::uint64_t> handled{0};
  std::jthread const caller([&] {
    test::Patience patience;
    for (std::uint64_t round = 0; round < rounds; ++round) {
      Call* call = nullptr;
      while ((call = current.exchange(nullptr)) == nullptr) ASSERT_TRUE(patience.another_turn());
      if (call->cancel()) answers.cancelled.fetch_add(1);
      call->release();
      handled.fetch_add(1);
    }
  });
  const Message term;
  test::Patience patience;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const Ref<Call> call = make_call(answers);
    current.store(Ref<Call>(call).take());
    if (call->start() && round % 5 != 0) call->finish(Call::Outcome::ok_term, term);
    while (handled.load() != round + 1) ASSERT_TRUE(patience.another_turn());
  }
  EXPECT_EQ(static_cast<std::uint64_t>(answers.given + answers.cancelled + answers.abandoned),
            rounds);
}

}  // namespace
}  // namespace penstock
