// SPDX-License-Identifier: Apache-2.0
// Streams that processes share, of words of four bytes: the n-th is n. Process 0 writes, and reads
// in some.
#include "penstock/shared_stream.hpp"

#include <algorithm>
#include <array>
#include <memory>

#include "cases.hpp"
#include "penstock/wire.hpp"
#include "processes.hpp"

namespace penstock::model {

namespace {

using Reading = ByteStream::Reading;
using End = ByteStream::End;
constexpr std::uint64_t kWord = 4;
constexpr std::uint64_t kRing = 4096;

/// The words from `first` on.
template <std::size_t Words>
[[nodiscard]] Status write(ByteStream& stream, std::uint32_t first) {
  std::array<std::uint32_t, Words> words;
  for (std::uint32_t& word : words) word = first++;
  return stream.write({reinterpret_cast<const std::uint8_t*>(words.data()), sizeof words});
}

/// Waits for room: the outcome, which is never full.
Status write_or_wait(ByteStream& stream, std::uint32_t word) {
  Status status = write<1>(stream, word);
  while (status == Status::full) {
    ThreadWaiter me;
    stream.space_waiters().add(me);
    stream.want_room(kWord);
    status = write<1>(stream, word);
    if (status == Status::full) (void)me.park(kNoDeadline);
    (void)me.leave(stream.space_waiters());
  }
  return status;
}

void write_waiting(ByteStream& stream, std::uint32_t word) {
  require(write_or_wait(stream, word) == Status::ok, "neither written nor full");
}

/// As a reader does, whose turn it is.
template <class Body>
void read(ByteStream& stream, Body body) {
  stream.begin_reading();
  Reading reading(stream);
  stream.pull();
  body(reading);
}

/// Takes `count` words that are there, each of which must follow the one before.
void take(Reading& reading, std::uint64_t count) {
  for (; count != 0; --count) {
    std::uint32_t word = 0;
    reading.copy(reading.position(), reinterpret_cast<std::uint8_t*>(&word), kWord);
    require(word == reading.position() / kWord + 1, "a word was lost, doubled or torn");
    reading.consume(kWord);
  }
}

void begin(ByteStream& stream) {
  stream.add_reader();
  require(stream.take_turn(), "it is another process's turn");
}

/// Nobody waits, so that nothing but the stream's own edges orders anything.
template <unsigned Reader>
void bytes_arrive() {
  Domains domains(2);
  const Streams on(domains, {.max_unread = kRing, .retains = false});
  begin(on[Reader]);
  parallel(
      [&] {
        require(write<1>(on[0], 1) == Status::ok, "write failed");
        require(write<1>(on[0], 2) == Status::ok, "write failed");
      },
      [&] {
        read(on[Reader], [](Reading& reading) { take(reading, reading.available() / kWord); });
      });
  read(on[Reader], [](Reading& reading) {
    take(reading, reading.available() / kWord);
    require(reading.position() == 2 * kWord, "a word was lost");
  });
}

template <unsigned Reader>
void end_comes_after_the_bytes() {
  Domains domains(2);
  const Streams on(domains, {.max_unread = kRing, .retains = false});
  begin(on[Reader]);
  parallel(
      [&] {
        require(write<1>(on[0], 1) == Status::ok, "write failed");
        on[0].close();
      },
      [&] {
        read(on[Reader], [](Reading& reading) {
          if (reading.end() == End::open) return;
          require(reading.end() == End::complete, "another end");
          require(reading.available() == kWord, "the end overtook a word");
          take(reading, 1);
        });
      });
}

/// Closed by another thread than the one that wrote: it knows of the word by the writers' mutex
/// only.
template <unsigned Reader>
void end_comes_after_anybodys_bytes() {
  Domains domains(2);
  const Streams on(domains, {.max_unread = kRing, .retains = false});
  begin(on[Reader]);
  Status status = Status::ok;
  std::uint64_t seen = UINT64_MAX;
  parallel([&] { status = write<1>(on[0], 1); }, [&] { on[0].close(); },
           [&] {
             read(on[Reader], [&](Reading& reading) {
               if (reading.end() != End::open) seen = reading.available();
             });
           });
  if (seen != UINT64_MAX) require(seen == (status == Status::ok ? kWord : 0), "lost, or added");
}

template <unsigned Reader>
void abort_brings_its_reason() {
  Domains domains(2);
  const Streams on(domains, {.max_unread = kRing, .retains = false});
  begin(on[Reader]);
  parallel(
      [&] {
        auto reason = std::make_unique<Message>();
        require(wire::Writer(*reason).atom("x"), "no memory");
        require(on[0].abort(std::move(reason)) == Status::ok, "abort failed");
      },
      [&] {
        read(on[Reader], [](Reading& reading) {
          if (reading.end() == End::open) return;
          require(reading.end() == End::aborted, "another end");
          require(reading.reason() != nullptr && reading.reason()->size() != 0, "no reason");
        });
      });
}

/// The ring is full: the writer writes over what was read, and over nothing else.
void room_is_given_back() {
  Domains domains(2);
  const Streams on(domains, {.max_unread = kRing, .retains = false});
  begin(on[1]);
  require(write<kRing / kWord>(on[0], 1) == Status::ok, "write failed");
  parallel(
      [&] {
        const Status status = write<1>(on[0], kRing / kWord + 1);
        require(status == Status::ok || status == Status::full, "neither written nor full");
      },
      [&] { read(on[1], [](Reading& reading) { take(reading, 1); }); });
}

/// The turn goes from one process to another one, which begins where the first stopped.
void another_process_goes_on() {
  Domains domains(3);
  const Streams on(domains, {.max_unread = kRing, .retains = false});
  begin(on[1]);
  require(write<2>(on[0], 1) == Status::ok, "write failed");
  parallel(
      [&] {
        read(on[1], [](Reading& reading) { take(reading, 1); });
        on[1].remove_reader();
      },
      [&] {
        on[2].add_reader();
        for (unsigned turn = 0; !on[2].take_turn(); ++turn) spin_pause(turn);
        read(on[2], [](Reading& reading) {
          require(reading.position() == kWord, "it begins elsewhere");
          take(reading, 1);
        });
      });
}

/// A process goes with bytes that it has set aside and nobody got: the next one is told so.
void reader_takes_bytes_along() {
  Domains domains(3);
  const Streams on(domains, {.max_unread = kWord, .retains = false});
  begin(on[1]);
  require(write<1>(on[0], 1) == Status::ok, "write failed");
  Message expected;
  require(wire::Writer(expected).atom("reader_down"), "no memory");
  parallel(
      [&] {
        read(on[1], [](Reading& reading) { reading.relieve(); });
        on[1].remove_reader();
      },
      [&] {
        on[2].add_reader();
        for (unsigned turn = 0; !on[2].take_turn(); ++turn) spin_pause(turn);
        read(on[2], [&](Reading& reading) {
          require(reading.end() == End::aborted && reading.reason() != nullptr, "another end");
          require(std::ranges::equal(reading.reason()->bytes(), expected.bytes()), "no reason");
        });
      });
}

/// A reader dies: the next one goes on where it stopped.
void reader_dies() {
  Domains domains(3);
  const Streams on(domains, {.max_unread = kRing, .retains = false});
  begin(on[1]);
  require(write<2>(on[0], 1) == Status::ok, "write failed");
  parallel([&] { read(on[1], [](Reading& reading) { take(reading, 1); }); },
           [&] {
             await_end(1);
             require(on[0].recover(1), "not recovered");
           },
           [&] {
             on[2].add_reader();
             for (unsigned turn = 0; !on[2].take_turn(); ++turn) spin_pause(turn);
             read(on[2], [](Reading& reading) { take(reading, 1); });
             require(on[2].position() == 2 * kWord, "it begins elsewhere");
           });
}

/// A writer that finds no room beside the first reader's coming.
void first_reader_comes() {
  Domains domains(2);
  const Streams on(domains, {.max_unread = kWord, .retains = false});
  require(write<1>(on[0], 1) == Status::ok, "write failed");
  parallel([&] { on[1].add_reader(); },
           [&] { require(on[0].full_or_abandoned() == Status::full, "taken for abandoned"); });
}

/// Waits until all of them are there, as a sized read does; then their position is moved to.
void wait_for(ByteStream& stream, std::uint64_t words) {
  for (;;) {
    bool is_enough = false;
    read(stream, [&](Reading& reading) {
      is_enough = reading.available() >= words * kWord;
      if (is_enough) return reading.consume(words * kWord);
      reading.relieve();
    });
    if (is_enough) return;
    ThreadWaiter me;
    ThreadWaiter::Wake woken{};
    require(stream.await(words * kWord, kNoDeadline, me, &woken) == Status::ok, "no reason");
  }
}

/// The bound is a part of what the reader waits for: it must see what left no room, and make some.
/// In the writer's process, where nobody has to be called.
void reader_waits_for_more_than_fits() {
  Domains domains(1);
  const Streams on(domains, {.max_unread = kWord, .retains = false});
  begin(on[0]);
  parallel(
      [&] {
        write_waiting(on[0], 1);
        write_waiting(on[0], 2);
      },
      [&] { wait_for(on[0], 2); });
}

/// A writer that does not wait marks the stream over the mark of one that does: who takes that mark
/// back must see what left no room for the other.
void mark_covers_another_writers() {
  Domains domains(1);
  const Streams on(domains, {.max_unread = kWord, .retains = false});
  begin(on[0]);
  parallel(
      [&] {
        require(write<1>(on[0], 0) != Status::closed, "closed early");
        const Status status = write_or_wait(on[0], 0);
        require(status == Status::ok || status == Status::closed, "another end");
      },
      [&] { (void)write<1>(on[0], 0); },
      [&] {
        wait_for(on[0], 2);
        on[0].close();
      });
}

/// Between two processes, whose threads that listen call the one or the other.
void processes_wait_for_each_other() {
  Domains domains(2);
  const Streams on(domains, {.max_unread = kWord, .retains = false});
  begin(on[1]);
  parallel(
      [&] {
        write_waiting(on[0], 1);
        write_waiting(on[0], 2);
        domains[0]->leave();
      },
      [&] {
        wait_for(on[1], 2);
        domains[1]->leave();
      },
      [&] { domains.listen(0); }, [&] { domains.listen(1); });
}

constexpr Case kCases[] = {
    {"SharedStreamBringsItsBytes", bytes_arrive<1>, {.limits = {2, 2}}},
    {"SharedStreamBringsItsOwnProcessItsBytes", bytes_arrive<0>, {.limits = {2, 2}}},
    {"SharedStreamEndsAfterItsBytes", end_comes_after_the_bytes<1>, {.limits = {2, 2}}},
    {"SharedStreamEndsInItsOwnProcessAfterItsBytes",
     end_comes_after_the_bytes<0>,
     {.limits = {2, 2}}},
    {"SharedStreamEndsAfterAnybodysBytes", end_comes_after_anybodys_bytes<1>, {.limits = {2, 2}}},
    {"SharedStreamEndsInItsOwnProcessAfterAnybodysBytes",
     end_comes_after_anybodys_bytes<0>,
     {.limits = {2, 2}}},
    {"SharedStreamBringsTheReason", abort_brings_its_reason<1>, {.limits = {2, 2}}},
    {"SharedStreamBringsItsOwnProcessTheReason", abort_brings_its_reason<0>, {.limits = {2, 2}}},
    {"SharedStreamKeepsWhatIsBeingRead", room_is_given_back, {.limits = {2, 2}}},
    {"SharedStreamGoesOnInAnotherProcess", another_process_goes_on, {.limits = {2, 2}}},
    {"SharedStreamTellsOfBytesThatWereTakenAlong", reader_takes_bytes_along, {.limits = {2, 2}}},
    {"SharedStreamOutlivesItsReader", reader_dies, {.limits = {2, 2}}},
    {"SharedStreamWithItsFirstReaderIsNotAbandoned", first_reader_comes, {.limits = {2, 2}}},
    {"SharedStreamReaderMayWaitForMoreThanFits",
     reader_waits_for_more_than_fits,
     {.limits = {2, 2}, .most_executions = 20'000}},
    {"SharedStreamMarkCoversThatOfAnotherWriter",
     mark_covers_another_writers,
     {.limits = {1, 2}, .most_executions = 60'000}},
    {"SharedStreamReaderMayWaitForAnotherProcess",
     processes_wait_for_each_other,
     {.limits = {2, 2}, .most_executions = 5'000, .random_executions = 10'000}},
};

}  // namespace

std::span<const Case> shared_stream_cases() { return kCases; }

}  // namespace penstock::model
