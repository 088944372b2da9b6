// SPDX-License-Identifier: Apache-2.0
// Processes that die before any of their steps, while others go on.
#include "cases.hpp"
#include "processes.hpp"
#include "shared_messages.hpp"

namespace penstock::model {

namespace {

/// What the process did that may have died, as far as it came.
struct Victim {
  std::uint32_t has_sent = 0;
  std::uint64_t got = 0;
};

/// Nothing of the dead is left: all the room is there again.
void require_whole(Channels& on, unsigned victim) {
  require(on.queue(0).leased() == 0, "room is kept that nobody reads in");
  require(!on[0].is_closed(), "closed by nobody");
  if (has_died()) on.abandon(victim);
  for (std::uint64_t i = 0; i < 3; ++i) send(on[0], i, kInPlace);
  for (std::uint64_t i = 0; i < 3; ++i) {
    Message message;
    receive_polling(on[2], message);
    require(number_in(message, kInPlace) == i, "lost or doubled");
  }
}

/// A receiver dies, who reads in place what is long enough, or copies it, beside another one.
template <class Taken>
void receiver_dies() {
  Domains domains(3);
  Channels on(domains, kInPlace);
  send(on[0], 0);
  Message first;  // So that `next` is not by chance where the ring's head is.
  receive_polling(on[2], first);
  send(on[0], 1, kInPlace);
  send(on[0], 2);
  Victim victim;
  std::uint64_t last = 0;
  const auto take = [&] {
    Message message;
    const Status status = on[2].try_receive(message);
    if (status != Status::ok) return;
    std::uint64_t const number = read_number(message);
    require(number > last, "doubled, or overtaken");
    last = number;
  };
  parallel(
      [&] {
        may_die();
        Taken message;
        if (on[1].try_receive(message) != Status::ok) return;
        victim.got = read_number(message);
        message.clear();
      },
      [&] {
        await_end(1);
        recover(on[0], 1);
      },
      take);
  std::uint64_t const before = last;
  for (unsigned i = 0; i < 2; ++i) take();
  require(last == 2 || victim.got == 2 || (has_died() && before == 1), "lost");
  require(on[0].size() == 0, "something is left");
  require_whole(on, 1);
}

/// Those that are left undo at the same time what a dead process had begun, as guests do whose
/// creator is dead.
void several_recover() {
  Domains domains(4);
  Channels on(domains, kInPlace);
  send(on[0], 1, kInPlace);
  send(on[0], 2);
  Victim victim;
  parallel(
      [&] {
        may_die();
        InPlace message;
        if (on[1].try_receive(message) != Status::ok) return;
        victim.got = read_number(message);
        message.clear();
      },
      [&] {
        await_end(1);
        recover(on[2], 1);
      },
      [&] {
        await_end(1);
        recover(on[3], 1);
      });
  Message message;
  require(on[2].try_receive(message) == Status::ok, "lost");
  if (victim.got == 0 && read_number(message) == 1) {
    message.clear();
    require(on[2].try_receive(message) == Status::ok, "lost");
  }
  require(read_number(message) == 2 && on[0].size() == 0, "lost or doubled");
  require_whole(on, 1);
}

/// A sender dies, beside another one.
void sender_dies() {
  Domains domains(3);
  Channels on(domains, kInPlace);
  on[1].add_sender();
  Victim victim;
  parallel(
      [&] {
        may_die();
        send(on[1], 1);
        victim.has_sent = 1;
      },
      [&] { send(on[0], 2); },
      [&] {
        await_end(1);
        recover(on[0], 1);
      });
  std::uint64_t seen = 0;
  for (unsigned i = 0; i < 2; ++i) {
    Message message;
    if (on[2].try_receive(message) == Status::ok) seen += read_number(message);
  }
  require(seen == 3 || (seen == 2 && victim.has_sent == 0), "lost or doubled");
  require(on[0].size() == 0, "something is left");
  require_whole(on, 1);
}

/// A sender dies, perhaps as it was about to call who sleeps in another process: that one gets the
/// message, or learns that none will come.
void sender_dies_beside_a_sleeper() {
  Domains domains(3);
  Channels on(domains, kSmall);
  on[1].add_sender();
  Victim victim;
  parallel(
      [&] {
        may_die();
        send(on[1], 1);
        victim.has_sent = 1;
      },
      [&] {
        await_end(1);
        domains[0]->ended(1);
      },
      [&] {
        Message message;
        ThreadWaiter me;
        ThreadWaiter::Wake woken{};
        const Status status = on[2].receive(message, kNoDeadline, me, &woken);
        if (status == Status::ok) {
          require(number_in(message, kSmall) == 1, "another message");
        } else {
          await_end(1);
          require(status == Status::closed && victim.has_sent == 0, "lost");
        }
        domains[0]->leave();
        domains[2]->leave();
      },
      [&] { domains.listen(0); }, [&] { domains.listen(2); });
  if (has_died()) on.abandon(1);
}

/// A receiver dies while it waits, or when it was called: the call is for the other one.
void waiting_receiver_dies() {
  Domains domains(3);
  Channels on(domains, kSmall);
  on[0].add_sender();
  Victim victim;
  const auto receive = [](Channel& channel, std::int64_t deadline_ns) {
    Message message;
    ThreadWaiter me;
    ThreadWaiter::Wake woken{};
    const Status status = channel.receive(message, deadline_ns, me, &woken);
    return status == Status::ok ? number_in(message, kSmall) : 0;
  };
  parallel(
      [&] {
        may_die();
        victim.got = receive(on[1], now_ns() + 1);
      },
      [&] {
        await_end(1);
        domains[0]->ended(1);
      },
      [&] {
        send(on[0], 1);
        on[0].remove_sender();
      },
      [&] {
        std::uint64_t const got = receive(on[2], kNoDeadline);
        await_end(1);
        require(got + victim.got == 1 || (got == 0 && has_died()), "lost or doubled");
        domains[0]->leave();
        domains[2]->leave();
      },
      [&] { domains.listen(0); }, [&] { domains.listen(2); });
  if (has_died()) on.abandon(1);
}

/// Who closes a channel dies at it: it is closed to all, or to nobody.
void closer_dies() {
  Domains domains(3);
  Channels on(domains, kSmall);
  parallel(
      [&] {
        may_die();
        on[1].close();
      },
      [&] {
        await_end(1);
        recover(on[0], 1);
      });
  Message message;
  const Status status = on[2].try_receive(message);
  require(status == (on[0].is_closed() ? Status::closed : Status::empty), "half closed");
  if (has_died()) on.abandon(1);
}

constexpr std::uint64_t kWord = 4;

/// Takes a word, which must be the next; false: there is none.
bool take_word(ByteStream& stream) {
  stream.begin_reading();
  ByteStream::Reading reading(stream);
  stream.pull();
  if (reading.available() < kWord) return false;
  std::uint32_t word = 0;
  reading.copy(reading.position(), reinterpret_cast<std::uint8_t*>(&word), kWord);
  require(word == reading.position() / kWord + 1, "a word was lost, doubled or torn");
  reading.consume(kWord);
  return true;
}

void write_word(ByteStream& stream, std::uint32_t word) {
  const Status status = stream.write({reinterpret_cast<const std::uint8_t*>(&word), kWord});
  require(status == Status::ok, "write failed");
}

/// A reader dies, or goes: the next one goes on with what it had not read, or is told that some of
/// that is gone.
template <bool SetsAside>
void reader_dies() {
  Domains domains(3);
  Streams on(domains, {.max_unread = 2 * kWord, .retains = false});
  on[1].add_reader();
  require(on[1].take_turn(), "it is another process's turn");
  write_word(on[0], 1);
  write_word(on[0], 2);
  Victim victim;
  parallel(
      [&] {
        may_die();
        if (SetsAside) {
          on[1].begin_reading();
          ByteStream::Reading(on[1]).relieve();
        }
        victim.got = take_word(on[1]) ? 1 : 0;
        on[1].remove_reader();
      },
      [&] {
        await_end(1);
        require(on[0].recover(1), "not recovered");
      },
      [&] {
        on[2].add_reader();
        for (unsigned turn = 0; !on[2].take_turn(); ++turn) spin_pause(turn);
        require(on[2].position() >= victim.got * kWord, "a word comes twice");
        while (on[2].position() < 2 * kWord && take_word(on[2])) {
        }
        require(on[2].position() == 2 * kWord || SetsAside, "a word was lost");
      });
  if (has_died()) on.abandon(1);
}

/// A reader dies while a writer waits for room, which comes, or never will.
void reader_dies_beside_a_writer() {
  Domains domains(2);
  Streams on(domains, {.max_unread = kWord, .retains = false});
  on[1].add_reader();
  require(on[1].take_turn(), "it is another process's turn");
  write_word(on[0], 1);
  Victim victim;
  parallel(
      [&] {
        may_die();
        victim.got = take_word(on[1]) ? 1 : 0;
      },
      [&] {
        await_end(1);
        domains[0]->ended(1);
      },
      [&] {
        std::uint32_t const word = 2;
        const std::span bytes(reinterpret_cast<const std::uint8_t*>(&word), kWord);
        Status status = on[0].write(bytes);
        while (status == Status::full) {
          ThreadWaiter me;
          on[0].space_waiters().add(me);
          on[0].want_room(kWord);
          status = on[0].write(bytes);
          if (status == Status::full) status = on[0].full_or_abandoned();
          if (status == Status::full) (void)me.park(kNoDeadline);
          (void)me.leave(on[0].space_waiters());
        }
        await_end(1);
        require(status == Status::ok || status == Status::no_reader, "another outcome");
        require(status == Status::ok || has_died(), "there was room");
        domains[0]->leave();
      },
      [&] { domains.listen(0); });
  if (has_died()) on.abandon(1);
}

constexpr Case kCases[] = {
    {"DeadReaderLeavesNoWriterAsleep",
     reader_dies_beside_a_writer,
     {.limits = {1, 1}, .most_executions = 10'000, .random_executions = 5'000}},
    {"DeadSenderLeavesNobodyAsleep",
     sender_dies_beside_a_sleeper,
     {.limits = {1, 1}, .most_executions = 10'000, .random_executions = 10'000}},
    {"DeadReaderTakesAlongWhatItSetAside",
     reader_dies<true>,
     {.limits = {1, 1}, .most_executions = 20'000}},
    {"DeadCloserClosesForAllOrNobody", closer_dies, {}},
    {"DeadWaiterLeavesNobodyAsleep",
     waiting_receiver_dies,
     {.limits = {1, 1}, .most_executions = 5'000, .random_executions = 15'000}},
    {"DeadReaderLeavesTheRest", reader_dies<false>, {.limits = {1, 1}, .most_executions = 20'000}},
    {"DeadReceiverInPlaceLeavesNothing",
     receiver_dies<InPlace>,
     {.limits = {1, 0}, .most_executions = 20'000}},
    {"DeadReceiverLeavesNothing",
     receiver_dies<Message>,
     {.limits = {1, 1}, .most_executions = 20'000}},
    {"DeadReceiverIsUndoneBySeveral",
     several_recover,
     {.limits = {1, 1}, .most_executions = 10'000, .random_executions = 5'000}},
    {"DeadSenderLeavesNothing", sender_dies, {.limits = {1, 1}, .most_executions = 20'000}},
};

}  // namespace

std::span<const Case> death_cases() { return kCases; }

}  // namespace penstock::model
