// SPDX-License-Identifier: Apache-2.0
#include "penstock/queue.hpp"

#include "cases.hpp"
#include "payload.hpp"
#include "penstock/wire.hpp"

/// Slabs are 48 bytes here: two short records, or one by pointer, and an END.
namespace penstock::model {

namespace {

void push_numbers(Queue& queue, std::uint64_t producer, unsigned count,
                  std::size_t bytes = kShort) {
  for (unsigned i = 1; i <= count; ++i) {
    Message message;
    put(message, 10 * producer + i, bytes);
    require(queue.push(message) == Status::ok, "push failed");
    require(message.size() == 0, "a pushed message was not emptied");
  }
}

void pop_numbers(Queue& queue, InOrder& seen, unsigned count, std::size_t bytes = kShort) {
  for (unsigned turn = 0; seen.total() < count; ++turn) {
    Message message;
    const Status status = queue.pop(message);
    if (status == Status::ok) {
      seen.accept(number_in(message, bytes));
    } else {
      require(status == Status::empty, "pop of an open queue said neither ok nor empty");
      spin_pause(turn);
    }
  }
}

template <unsigned First, unsigned Second>
void two_producers() {
  Queue queue;
  require(queue.init() == Status::ok, "init");
  InOrder seen;
  parallel([&] { push_numbers(queue, 0, First); }, [&] { push_numbers(queue, 1, Second); },
           [&] { pop_numbers(queue, seen, First + Second); });
}

/// The consumer gives slabs back while the producer takes new ones.
void recycling() {
  Queue queue;
  require(queue.init() == Status::ok, "init");
  InOrder seen;
  parallel([&] { push_numbers(queue, 0, 7); }, [&] { pop_numbers(queue, seen, 7); });
}

/// One queue's drained slab becomes another's.
void slab_changes_queues() {
  Queue from;
  Queue to;
  require(from.init() == Status::ok && to.init() == Status::ok, "init");
  push_numbers(from, 0, 3);
  push_numbers(to, 1, 2);
  InOrder seen;
  parallel([&] { pop_numbers(from, seen, 3); }, [&] { push_numbers(to, 1, 1); });
}

void by_pointer() {
  Queue queue;
  require(queue.init() == Status::ok, "init");
  InOrder seen;
  parallel([&] { push_numbers(queue, 0, 2, kLong); }, [&] { pop_numbers(queue, seen, 2, kLong); });
}

void close_against_push_and_pop() {
  Queue queue;
  require(queue.init() == Status::ok, "init");
  std::uint64_t pushed = 0;
  InOrder seen;
  parallel(
      [&] {
        for (std::uint64_t i = 1; i <= 3; ++i) {
          Message message;
          put(message, i);
          const Status status = queue.push(message);
          if (status == Status::closed) {
            require(message.size() == kShort, "a refused message was emptied");
            require(queue.is_closed(), "closed, then open again");
            break;
          }
          require(status == Status::ok, "push failed");
          pushed = i;
        }
      },
      [&] { queue.close(); },
      [&] {
        for (unsigned turn = 0;; ++turn) {
          Message message;
          const Status status = queue.pop(message);
          if (status == Status::closed) break;
          if (status == Status::ok) {
            seen.accept(number_in(message));
          } else {
            spin_pause(turn);
          }
        }
      });
  require(seen.total() == pushed, "a push that returned ok was not received before the end");
}

/// What a thread did before its close is visible to whoever learns of it, by any call.
void close_publishes() {
  Queue queue;
  require(queue.init() == Status::ok, "init");
  int before_close = 0;
  parallel(
      [&] {
        before_close = 1;
        queue.close();
      },
      [&] {
        Message message;
        if (queue.pop(message) == Status::closed) require(before_close == 1, "stale");
      },
      [&] {
        if (queue.is_closed()) require(before_close == 1, "stale");
      },
      [&] {
        for (int i = 0; i < 3; ++i) {  // The third needs another slab.
          Message message;
          put(message, 1);
          if (queue.push(message) == Status::closed) require(before_close == 1, "stale");
        }
      });
}

/// A producer that was stopped between its look at the claim and its compare-and-swap finds the
/// same value again, after the slab has been drained, recycled and made the tail once more. (The
/// other thread produces and consumes; so few records do that in 48 bytes.)
void stale_claim_compares_equal() {
  Queue queue;
  require(queue.init() == Status::ok, "init");
  InOrder seen;
  push_numbers(queue, 0, 1);
  std::uint64_t next = 2;
  const auto push_next = [&] {
    Message message;
    put(message, next++);
    require(queue.push(message) == Status::ok, "push failed");
  };
  parallel([&] { push_numbers(queue, 1, 1); },
           [&] {
             push_next();
             push_next();
             for (unsigned turn = 0; seen.from(0) < 3; ++turn) {
               Message message;
               if (queue.pop(message) == Status::ok) {
                 seen.accept(number_in(message));
               } else {
                 spin_pause(turn);
               }
             }
             push_next();
             push_next();
             push_next();
           });
  pop_numbers(queue, seen, 7);
}

/// What a message refers to.
class Referred final : public wire::PinnedBytes {
 public:
  Referred(int* live, int value) : PinnedBytes({}), content(value), live_(live) { ++*live_; }
  int content;

 private:
  ~Referred() override { --*live_; }
  int* live_;
};

/// One reference is received and dropped, the other dropped with the queue.
void references_travel() {
  int live = 0;
  {
    Queue queue;
    require(queue.init() == Status::ok, "init");
    Object* kept = nullptr;
    parallel(
        [&] {
          for (int i = 1; i <= 2; ++i) {
            Message message;
            wire::Writer writer(message);
            auto object = Ref<wire::PinnedBytes>::steal(new Referred(&live, i));
            require(writer.pinned(wire::PinnedAs::binary, std::move(object)), "no memory");
            require(queue.push(message) == Status::ok, "push failed");
          }
        },
        [&] {
          Message message;
          for (unsigned turn = 0; queue.pop(message) != Status::ok; ++turn) spin_pause(turn);
          wire::Reader reader(message.bytes());
          wire::Item item{};
          require(reader.next(item) == Status::ok && item.tag == wire::kPinned, "corrupt");
          require(static_cast<Referred*>(item.object)->content == 1, "another object");
          // Kept until after the join: `live` is counted by the one thread that is left.
          item.object->retain();
          message.clear();
          kept = item.object;
        });
    kept->release();
  }
  require(live == 0, "an object outlived its last message");
}

void dropped_with_contents() {
  Queue queue;
  require(queue.init() == Status::ok, "init");
  parallel([&] { push_numbers(queue, 0, 2); }, [&] { push_numbers(queue, 1, 1, kLong); });
}

constexpr Case kCases[] = {
    {"QueueOfTwoProducersKeepsOrderAndLosesNothing", two_producers<2, 1>, {}},
    {"QueueOfTwoProducersCrossesSlabEnds",
     two_producers<3, 3>,
     {.limits = {2, 2}, .most_executions = 60'000, .random_executions = 20'000}},
    {"QueueRecyclesSlabsUnderItsProducer", recycling, {.limits = {3, 2}}},
    {"SlabOfOneQueueServesAnother", slab_changes_queues, {}},
    {"QueueHandsBlocksOver", by_pointer, {}},
    {"QueueDeliversEachAcceptedPushBeforeItsEnd", close_against_push_and_pop, {}},
    {"QueueClosePublishesWhatWasDoneBefore", close_publishes, {}},
    {"QueueClaimThatComparesEqualIsCurrent", stale_claim_compares_equal, {.limits = {2, 2}}},
    {"QueueCarriesReferencesAndDropsThem", references_travel, {}},
    {"QueueDroppedWithContentsLeaksNothing", dropped_with_contents, {}},
};

}  // namespace

std::span<const Case> queue_cases() { return kCases; }

}  // namespace penstock::model
