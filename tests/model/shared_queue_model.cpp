// SPDX-License-Identifier: Apache-2.0
// Channels that processes share: the consumer's role that passes between them, and records that are
// read where they lie.
#include "penstock/shared_queue.hpp"

#include <array>

#include "cases.hpp"
#include "processes.hpp"
#include "shared_messages.hpp"

namespace penstock::model {

namespace {

constexpr std::size_t kHalf = 1000;  ///< Two fill the smallest ring.

void require_empty(const Channels& on) {
  require(on[0].size() == 0, "something is left");
  require(on.queue(0).leased() == 0, "room is kept that nobody reads in");
}

/// Two processes take a message each, and find nothing of what the other one took.
void role_is_handed_over() {
  Domains domains(3);
  const Channels on(domains, kSmall);
  send(on[0], 1);
  send(on[0], 2);
  std::uint64_t got[2] = {};
  const auto take = [&](unsigned process) {
    Message message;
    receive_polling(on[process], message);
    got[process - 1] = number_in(message, kSmall);
  };
  parallel([&] { take(1); }, [&] { take(2); });
  require(got[0] + got[1] == 3 && got[0] != got[1] && got[0] != 0, "lost or doubled");
  require_empty(on);
}

/// One process ends its lease while another one takes a message: either gives the room back.
void ended_lease_is_seen() {
  Domains domains(3);
  const Channels on(domains, kInPlace);
  send(on[0], 1, kInPlace);
  send(on[0], 2);
  InPlace first;
  receive_polling(on[1], first);
  require(on.queue(0).leased() == kInPlace, "it was copied");
  parallel(
      [&] {
        require(read_number(first) == 1, "another record");
        first.clear();
      },
      [&] {
        Message second;
        receive_polling(on[2], second);
        require(number_in(second, kSmall) == 2, "lost or doubled");
      });
  require_empty(on);
}

/// The ring is full while one process reads the oldest record where it lies, and another one takes
/// the next: a third writes there as soon as it can, and not before.
template <class Taken>
void record_is_read_in_place() {
  Domains domains(3);
  const Channels on(domains, kInPlace);
  for (std::uint64_t i = 1; i <= 4; ++i) send(on[0], i, kInPlace);
  InPlace first;
  receive_polling(on[1], first);
  Taken second;
  parallel(
      [&] {
        Status status = Status::full;
        for (unsigned turn = 0; status == Status::full; ++turn) {
          status = try_send(on[0], 5, kInPlace);
          if (status == Status::full) spin_pause(turn);
        }
        require(status == Status::ok, "neither sent nor full");
      },
      [&] {
        require(read_number(first) == 1, "a record was written over that is being read");
        first.clear();
      },
      [&] {
        receive_polling(on[2], second);
        require(read_number(second) == 2, "lost or doubled");
      });
  second.clear();
  for (std::uint64_t i = 3; i <= 5; ++i) {
    Message message;
    receive_polling(on[1], message);
    require(number_in(message, kInPlace) == i, "lost or doubled");
  }
  require_empty(on);
}

/// Until a message or the end, which is 0.
std::uint64_t receive_or_end(Channel& channel) {
  for (unsigned turn = 0;; ++turn) {
    Message message;
    const Status status = channel.receive_or_wait(message);
    if (status == Status::ok) return number_in(message, kSmall);
    if (status == Status::closed) return 0;
    require(status == Status::empty, "neither received nor empty");
    spin_pause(turn);
  }
}

/// Without what a channel does besides: whoever sees that nobody can send finds the last message.
void last_message_is_there() {
  Domains domains(2);
  const Channels on(domains, kSmall);
  on.queue(0).set_sender(true);
  Message first;
  put(first, 1, kSmall);
  parallel(
      [&] {
        require(on.queue(0).push(first) == Status::ok, "full, although it fits");
        on.queue(0).set_sender(false);
      },
      [&] {
        if (on.queue(1).has_sender()) return;
        Message message;
        bool is_wanted = false;
        require(on.queue(1).pop(message, &is_wanted) == Status::ok, "the end came too early");
        require(!is_wanted, "wanted by nobody");
      });
}

void last_sender_leaves() {
  Domains domains(2);
  const Channels on(domains, kSmall);
  on[0].add_sender();
  parallel(
      [&] {
        send(on[0], 1);
        on[0].remove_sender();
      },
      [&] {
        require(receive_or_end(on[1]) == 1, "the end came before the last message");
        require(receive_or_end(on[1]) == 0, "a message from nowhere");
      });
}

/// The last sender dies as soon as its message is there: it has called nobody.
void last_sender_dies() {
  Domains domains(3);
  const Channels on(domains, kSmall);
  on[1].add_sender();
  parallel(
      [&] {
        const std::uint8_t message[kSmall] = {1};
        require(on.producer_of(1).try_send(message) == Status::ok, "full, although it fits");
      },
      [&] {
        await_end(1);
        recover(on[0], 1);
      },
      [&] {
        require(receive_or_end(on[2]) == 1, "the end came before the last message");
        require(receive_or_end(on[2]) == 0, "a message from nowhere");
      });
}

/// A dead process has claimed, and was reading in place: another one takes messages while that is
/// undone.
void dead_is_undone() {
  Domains domains(3);
  const Channels on(domains, kInPlace);
  send(on[0], 0, kInPlace);
  InPlace read_by_the_dead;
  receive_polling(on[1], read_by_the_dead);
  send(on[0], 1);
  MpscProducer::Claim claim;
  require(on.producer_of(1).try_claim(kSmall, &claim) == Status::ok, "full, although it fits");
  send(on[0], 2);
  parallel([&] { recover(on[0], 1); },
           [&] {
             for (std::uint64_t i = 1; i <= 2; ++i) {
               Message message;
               receive_polling(on[2], message);
               require(number_in(message, kSmall) == i, "lost or doubled");
             }
           });
  require_empty(on);
}

// Those who sleep, and are called by the threads that listen
// ------------------------------------------------------------------------------------------------

/// Waits for room.
void send_waiting(Channel& channel, std::uint64_t number, std::size_t bytes) {
  Message message;
  put(message, number, bytes);
  ThreadWaiter me;
  ThreadWaiter::Wake woken{};
  require(channel.send(message, kNoDeadline, me, &woken) == Status::ok, "a send gave up");
}

/// Waits for a message.
void receive_waiting(Channel& channel, Message& message) {
  ThreadWaiter me;
  ThreadWaiter::Wake woken{};
  require(channel.receive(message, kNoDeadline, me, &woken) == Status::ok, "a receive gave up");
}

/// Within one process, where nobody has to be called: who takes a short message has one fence,
/// between the room that it gives back and its look for those who wait for it.
void room_wakes_a_sender() {
  constexpr std::size_t kEach = 180;  // Less than an eighth of the ring, which holds ten.
  Domains domains(1);
  const Channels on(domains, kEach);
  for (std::uint64_t i = 1; i <= 10; ++i) send(on[0], i, kEach);
  parallel([&] { send_waiting(on[0], 11, kEach); },
           [&] {
             Message message;
             require(on[0].try_receive(message) == Status::ok, "lost");
           });
}

/// Nobody can send, and what there was is being read in place: who waits beside the end of that
/// learns of the end.
void end_comes_beside_a_lease() {
  Domains domains(3);
  const Channels on(domains, kInPlace);
  send(on[0], 1, kInPlace);
  InPlace last;
  receive_polling(on[1], last);
  parallel([&] { last.clear(); },
           [&] {
             Message none;
             ThreadWaiter me;
             ThreadWaiter::Wake woken{};
             const Status status = on[2].receive(none, kNoDeadline, me, &woken);
             require(status == Status::closed, "another end");
             domains[2]->leave();
           },
           [&] { domains.listen(2); });
}

/// The sender waits for room in one process, the receiver for messages in another one.
void processes_wait_for_each_other() {
  Domains domains(2);
  const Channels on(domains, kHalf);
  on[0].add_sender();
  send(on[0], 1, kHalf);
  send(on[0], 2, kHalf);
  parallel(
      [&] {
        send_waiting(on[0], 3, kHalf);
        domains[0]->leave();
      },
      [&] {
        for (std::uint64_t i = 1; i <= 3; ++i) {
          Message message;
          receive_waiting(on[1], message);
          require(number_in(message, kHalf) == i, "lost or doubled");
        }
        domains[1]->leave();
      },
      [&] { domains.listen(0); }, [&] { domains.listen(1); });
  require_empty(on);
}

/// Each of two processes gets a message, though one may find the other one at it.
void two_processes_receive() {
  Domains domains(3);
  const Channels on(domains, kSmall);
  on[0].add_sender();
  std::uint64_t got[2] = {};
  Atomic<std::uint32_t> left{2};
  const auto take = [&](unsigned process) {
    Message message;
    receive_waiting(on[process], message);
    got[process - 1] = number_in(message, kSmall);
    if (left.fetch_sub(1, order::acq_rel("test")) != 1) return;
    // Who has got his may still be called, and passes that on.
    domains[1]->leave();
    domains[2]->leave();
  };
  parallel(
      [&] {
        send(on[0], 1);
        send(on[0], 2);
      },
      [&] { take(1); }, [&] { take(2); }, [&] { domains.listen(1); }, [&] { domains.listen(2); });
  require(got[0] + got[1] == 3 && got[0] != got[1] && got[0] != 0, "lost or doubled");
  require_empty(on);
}

/// The room that a sender waits for is given back by who reads in place, or by who takes the next
/// message beside that.
void lease_keeps_a_sender_waiting() {
  Domains domains(3);
  const Channels on(domains, kInPlace);
  on[0].add_sender();
  for (std::uint64_t i = 1; i <= 4; ++i) send(on[0], i, kInPlace);
  InPlace first;
  receive_polling(on[1], first);
  parallel(
      [&] {
        send_waiting(on[0], 5, kInPlace);
        domains[0]->leave();
      },
      [&] { first.clear(); },
      [&] {
        Message second;
        receive_polling(on[2], second);
        require(number_in(second, kInPlace) == 2, "lost or doubled");
      },
      [&] { domains.listen(0); });
  require(on.queue(0).leased() == 0, "room is kept that nobody reads in");
}

constexpr Case kCases[] = {
    {"SharedQueueWakesWhoWaitsForRoom", room_wakes_a_sender, {.limits = {2, 2}}},
    {"SharedQueueLetsProcessesWaitForEachOther",
     processes_wait_for_each_other,
     {.limits = {2, 1}, .most_executions = 5'000, .random_executions = 10'000}},
    {"SharedQueueEndsBesideALease", end_comes_beside_a_lease, {.limits = {1, 1, false}}},
    {"SharedQueueOfTwoReceivingProcessesServesBoth",
     two_processes_receive,
     {.limits = {2, 1}, .most_executions = 5'000, .random_executions = 10'000}},
    {"SharedQueueCallsASenderThatALeaseKeptWaiting",
     lease_keeps_a_sender_waiting,
     {.limits = {2, 1}, .most_executions = 5'000, .random_executions = 5'000}},
    {"SharedQueueWithoutSendersHasTheLastMessage", last_message_is_there, {}},
    {"SharedQueueEndsAfterItsLastMessage", last_sender_leaves, {.limits = {2, 2}}},
    {"SharedQueueEndsAfterTheLastMessageOfTheDead",
     last_sender_dies,
     {.limits = {2, 1}, .most_executions = 20'000}},
    {"SharedQueueUndoesWhatADeadProcessHadBegun",
     dead_is_undone,
     {.limits = {2, 2}, .most_executions = 20'000}},
    {"SharedQueueSeesALeaseThatHasEnded",
     ended_lease_is_seen,
     {.limits = {3, 2}, .random_executions = 5000}},
    {"SharedQueueKeepsWhatIsReadInPlace",
     record_is_read_in_place<Message>,
     {.limits = {2, 1}, .most_executions = 10'000}},
    {"SharedQueueKeepsWhatTwoReadInPlace",
     record_is_read_in_place<InPlace>,
     {.limits = {1, 1}, .most_executions = 10'000}},
    {"SharedQueueIsTakenFromByOneProcessAtATime", role_is_handed_over, {.limits = {2, 2}}},
};

}  // namespace

std::span<const Case> shared_queue_cases() { return kCases; }

}  // namespace penstock::model
