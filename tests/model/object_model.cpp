// SPDX-License-Identifier: Apache-2.0
#include "cases.hpp"
#include "penstock/call.hpp"
#include "penstock/message.hpp"
#include "penstock/ref.hpp"

namespace penstock::model {

namespace {

/// An object that two threads use, each its own part, and whose destructor looks at both.
class Shared final : public Object {
 public:
  int part[2] = {0, 0};
  bool* freed = nullptr;

 private:
  ~Shared() override {
    require(part[0] == 1 && part[1] == 1, "destroyed before everybody was done");
    *freed = true;
  }
};

void last_release_sees_everything() {
  bool freed = false;
  auto* const shared = new Shared;
  shared->freed = &freed;
  shared->retain();
  const auto use = [&](int which) {
    shared->part[which] = 1;
    shared->release();
  };
  parallel([&] { use(0); }, [&] { use(1); });
  require(freed, "never destroyed");
}

/// A reference can be handed on while another is dropped.
void copied_while_dropped() {
  bool freed = false;
  auto first = Ref<Shared>::steal(new Shared);
  first->freed = &freed;
  auto second = first;
  parallel(
      [&] {
        first->part[0] = 1;
        const Ref<Shared> copy = first;
        first = {};
        (void)copy;
      },
      [&] {
        second->part[1] = 1;
        second = {};
      });
  require(freed, "never destroyed");
}

/// Counts its answers; a call that is dropped unanswered answers too.
class CountedCall final : public Call {
 public:
  explicit CountedCall(int* answers) : Call(1), answers_(answers) {}
  int prepared = 0;
  [[nodiscard]] bool watch_caller() noexcept override { return true; }

 private:
  ~CountedCall() override {
    if (abandon()) ++*answers_;
  }
  void answer(Outcome /*outcome*/, const Message& /*term*/) noexcept override { ++*answers_; }
  int* answers_;
};

void finish_against_cancel() {
  int answers = 0;
  bool cancelled = false;
  auto* const call = new CountedCall(&answers);
  call->retain();
  parallel(
      [&] {
        if (call->start()) {
          const Message term;
          (void)call->is_cancelled();
          call->finish(Call::Outcome::ok_term, term);
        } else {
          require(call->is_cancelled(), "neither started nor cancelled");
        }
        call->release();
      },
      [&] {
        cancelled = call->cancel();
        call->release();
      });
  require(answers == (cancelled ? 0 : 1), "a call had no outcome, or two");
}

void dropped_against_cancel() {
  int answers = 0;
  bool cancelled = false;
  auto* const call = new CountedCall(&answers);
  call->retain();
  parallel(
      [&] {
        (void)call->start();
        call->release();
      },
      [&] {
        cancelled = call->cancel();
        call->release();
      });
  require(answers == (cancelled ? 0 : 1), "a call had no outcome, or two");
}

/// Whoever finds the call started, answered or cancelled sees what led there.
void transitions_publish() {
  int answers = 0;
  auto* const call = new CountedCall(&answers);
  call->retain();
  int before_cancel = 0;
  parallel(
      [&] {
        before_cancel = 1;
        (void)call->cancel();
        call->release();
      },
      [&] {
        if (!call->start()) require(before_cancel == 1, "stale");
        if (call->is_cancelled()) require(before_cancel == 1, "stale");
        call->release();
      });
}

/// cancel() that finds the call running sees what the context did before it started.
void start_publishes() {
  int answers = 0;
  auto* const call = new CountedCall(&answers);
  call->retain();
  parallel(
      [&] {
        call->prepared = 1;
        (void)call->start();
        call->release();
      },
      [&] {
        const bool queued = !call->start();
        if (queued) require(call->prepared == 1, "stale");
        call->release();
      });
}

constexpr Case kCases[] = {
    {"LastReleaseSeesWhatEveryOwnerDid", last_release_sees_everything, {}},
    {"ReferenceIsCopiedWhileAnotherIsDropped", copied_while_dropped, {}},
    {"CallIsAnsweredOrCancelledNeverBoth", finish_against_cancel, {}},
    {"CallThatIsDroppedIsAnsweredUnlessCancelled", dropped_against_cancel, {}},
    {"CallTransitionsPublishWhatLedToThem", transitions_publish, {}},
    {"CallStartPublishesWhatCameBefore", start_publishes, {}},
};

}  // namespace

std::span<const Case> object_cases() { return kCases; }

}  // namespace penstock::model
