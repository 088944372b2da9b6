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

constexpr std::uint64_t kWord = 4;

/// Takes a word, if one is there and it is our turn: it must be the next.
void take_word(ByteStream& stream) {
  stream.begin_reading();
  ByteStream::Reading reading(stream);
  stream.pull();
  if (reading.available() < kWord) return;
  std::uint32_t word = 0;
  reading.copy(reading.position(), reinterpret_cast<std::uint8_t*>(&word), kWord);
  require(word == reading.position() / kWord + 1, "a word was lost, doubled or torn");
  reading.consume(kWord);
}

void write_word(ByteStream& stream, std::uint32_t word) {
  const Status status = stream.write({reinterpret_cast<const std::uint8_t*>(&word), kWord});
  require(status == Status::ok, "write failed");
}

/// A reader dies: the next one goes on with what it had not read.
void reader_dies() {
  Domains domains(3);
  Streams on(domains, {.max_unread = 4 * kWord, .retains = false});
  on[1].add_reader();
  require(on[1].take_turn(), "it is another process's turn");
  write_word(on[0], 1);
  write_word(on[0], 2);
  Victim victim;
  parallel(
      [&] {
        may_die();
        take_word(on[1]);
        victim.got = 1;
      },
      [&] {
        await_end(1);
        require(on[0].recover(1), "not recovered");
      },
      [&] {
        on[2].add_reader();
        for (unsigned turn = 0; !on[2].take_turn(); ++turn) spin_pause(turn);
        require(on[2].position() >= victim.got * kWord, "a word comes twice");
        while (on[2].position() < 2 * kWord) take_word(on[2]);
      });
  if (has_died()) on.abandon(1);
}

constexpr Case kCases[] = {
    {"DeadSenderLeavesNobodyAsleep",
     sender_dies_beside_a_sleeper,
     {.limits = {1, 1}, .most_executions = 10'000, .random_executions = 10'000}},
    {"DeadReaderLeavesTheRest", reader_dies, {.limits = {1, 1}, .most_executions = 20'000}},
    {"DeadReceiverInPlaceLeavesNothing",
     receiver_dies<InPlace>,
     {.limits = {1, 0}, .most_executions = 20'000}},
    {"DeadReceiverLeavesNothing",
     receiver_dies<Message>,
     {.limits = {1, 1}, .most_executions = 20'000}},
    {"DeadSenderLeavesNothing", sender_dies, {.limits = {1, 1}, .most_executions = 20'000}},
};

}  // namespace

std::span<const Case> death_cases() { return kCases; }

}  // namespace penstock::model
