// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <memory>
#include <optional>

#include "cases.hpp"
#include "penstock/byte_stream.hpp"
#include "penstock/wire.hpp"

/// Streams of words of four bytes (the explorer tells no smaller ones apart): the n-th is n. Their
/// length is announced, so that a chunk is not larger than what a scenario writes.
namespace penstock::model {

namespace {

using Reading = ByteStream::Reading;
constexpr std::uint64_t kWord = 4;

/// One word that lives elsewhere.
class Referred final : public wire::PinnedBytes {
 public:
  explicit Referred(std::uint32_t word)
      : PinnedBytes({reinterpret_cast<const std::uint8_t*>(&word_), kWord}), word_(word) {}

 private:
  ~Referred() override = default;
  std::uint32_t word_;
};

[[nodiscard]] Status write(ByteStream& stream, std::uint32_t word) {
  return stream.write({reinterpret_cast<const std::uint8_t*>(&word), kWord});
}

[[nodiscard]] Status write_by_reference(ByteStream& stream, std::uint32_t word) {
  auto bytes = Ref<wire::PinnedBytes>::steal(new Referred(word));
  return stream.write(bytes);
}

/// Waits for room: the outcome, which is never full.
[[nodiscard]] Status write_or_wait(ByteStream& stream, std::uint32_t word) {
  Status status = write(stream, word);
  while (status == Status::full) {
    ThreadWaiter me;
    stream.space_waiters().add(me);
    stream.want_room(kWord);
    status = write(stream, word);
    if (status == Status::full && stream.full_or_abandoned() == Status::no_reader) {
      status = Status::no_reader;
    }
    if (status == Status::full) (void)me.park(kNoDeadline);
    (void)me.leave(stream.space_waiters());
  }
  return status;
}

void await(ByteStream& stream, std::uint64_t position) {
  ThreadWaiter me;
  ThreadWaiter::Wake woken{};
  require(stream.await(position, kNoDeadline, me, &woken) == Status::ok, "woken without a reason");
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

std::uint64_t take_all(ByteStream& stream) {
  stream.begin_reading();
  Reading reading(stream);
  take(reading, reading.available() / kWord);
  return reading.position();
}

/// Waits until all of them are there, as a sized read does; then their position is moved to.
void wait_for(ByteStream& stream, std::uint64_t words) {
  for (;;) {
    {
      stream.begin_reading();
      Reading reading(stream);
      if (reading.available() >= words * kWord) return reading.consume(words * kWord);
      reading.relieve();
    }
    await(stream, words * kWord);
  }
}

void bytes_arrive() {
  const auto stream = ByteStream::create({.content_length = 2 * kWord});
  parallel(
      [&] {
        require(write(*stream, 1) == Status::ok, "write failed");
        require(write(*stream, 2) == Status::ok, "write failed");
      },
      [&] {
        while (take_all(*stream) < 2 * kWord) await(*stream, 2 * kWord);
      });
  require(stream->data_waiters().waiting() == 0, "somebody is still in line");
}

/// Nobody waits, so that nothing but the stream's own edges orders anything. A chunk that is linked
/// is followed before what it holds is published, and those that were read are freed.
template <bool Retains>
void links_are_followed() {
  const auto stream = ByteStream::create({.content_length = 2 * kWord, .retains = Retains});
  parallel(
      [&] {
        require(write_by_reference(*stream, 1) == Status::ok, "write failed");
        require(write_by_reference(*stream, 2) == Status::ok, "write failed");
      },
      [&] {
        stream->begin_reading();
        Reading reading(*stream);
        reading.seek(0);
        take(reading, reading.available() / kWord);
      });
  require(take_all(*stream) == 2 * kWord, "a word was lost");
}

/// A chunk is filled to its end, and the rest goes into the next, while the reader looks on.
void copies_cross_a_border() {
  const auto stream = ByteStream::create({.content_length = 3 * kWord, .retains = false});
  parallel(
      [&] {
        require(write_by_reference(*stream, 1) == Status::ok, "write failed");
        require(write(*stream, 2) == Status::ok, "write failed");
        require(write(*stream, 3) == Status::ok, "write failed");
      },
      [&] {
        (void)take_all(*stream);
        (void)take_all(*stream);
      });
  require(take_all(*stream) == 3 * kWord, "a word was lost");
}

void end_comes_after_the_bytes() {
  const auto stream = ByteStream::create({});
  parallel(
      [&] {
        require(write_by_reference(*stream, 1) == Status::ok, "write failed");
        stream->close();
      },
      [&] {
        stream->begin_reading();
        Reading reading(*stream);
        if (reading.end() == ByteStream::End::open) return;
        require(reading.end() == ByteStream::End::complete, "another end");
        require(reading.available() == kWord, "the end overtook a word");
        take(reading, 1);
      });
}

/// Closed by another thread than the one that wrote: it knows of the word by the writers' lock
/// only.
void end_comes_after_anybodys_bytes() {
  const auto stream = ByteStream::create({});
  Status status = Status::ok;
  parallel([&] { status = write_by_reference(*stream, 1); }, [&] { stream->close(); },
           [&] {
             stream->begin_reading();
             Reading reading(*stream);
             const bool over = reading.end() != ByteStream::End::open;
             std::uint64_t const there = reading.available();
             if (over) require(reading.available() == there, "more came after the end");
           });
  require(status == (stream->written() == 0 ? Status::closed : Status::ok), "lost");
}

void abort_brings_its_reason() {
  const auto stream = ByteStream::create({});
  parallel(
      [&] {
        auto reason = std::make_unique<Message>();
        require(wire::Writer(*reason).atom("x"), "no memory");
        stream->abort(std::move(reason));
      },
      [&] {
        stream->begin_reading();
        Reading reading(*stream);
        if (reading.end() == ByteStream::End::open) return;
        require(reading.end() == ByteStream::End::aborted, "another end");
        require(reading.reason() != nullptr && reading.reason()->size() != 0, "no reason");
      });
}

/// One reason at most is kept, whole, and the others are dropped.
void first_end_counts() {
  const auto stream = ByteStream::create({});
  parallel([&] { stream->abort(std::make_unique<Message>()); }, [&] { stream->close(); },
           [&] { stream->abort(nullptr); });
  stream->begin_reading();
  Reading reading(*stream);
  const bool aborted = reading.end() == ByteStream::End::aborted;
  require(aborted || reading.reason() == nullptr, "an end with the reason of another");
}

/// Whatever the end was before; and whoever learns of it finds nothing written afterwards.
void readers_end_wins() {
  const auto stream = ByteStream::create({});
  parallel([&] { stream->abort(nullptr); }, [&] { stream->close_by_reader(); },
           [&] {
             if (stream->is_closed_by_reader()) require(stream->is_closed(), "still open");
           });
  stream->begin_reading();
  Reading reading(*stream);
  require(reading.end() == ByteStream::End::complete, "a reader's end is no error to readers");
}

/// Two writers share a chunk, and one that is new.
void writers_exclude_each_other() {
  const auto stream = ByteStream::create({.content_length = 4 * kWord});
  require(write(*stream, 9) == Status::ok, "write failed");
  std::uint32_t const first[2] = {1, 1};
  parallel(
      [&] {
        const auto* const bytes = reinterpret_cast<const std::uint8_t*>(first);
        require(stream->write({bytes, 2 * kWord}) == Status::ok, "write failed");
      },
      [&] { require(write_by_reference(*stream, 2) == Status::ok, "write failed"); });
  stream->begin_reading();
  Reading reading(*stream);
  require(reading.available() == 4 * kWord, "a word was lost");
  std::uint32_t words[4] = {};
  reading.copy(0, reinterpret_cast<std::uint8_t*>(words), sizeof words);
  const bool in_order = words[1] == 1 && words[2] == 1 && words[3] == 2;
  const bool other_order = words[1] == 2 && words[2] == 1 && words[3] == 1;
  require(words[0] == 9 && (in_order || other_order), "a word was lost or torn");
}

/// Each takes one; what is read is freed under the others' eyes.
void readers_exclude_each_other() {
  const auto stream = ByteStream::create({.content_length = 3 * kWord, .retains = false});
  for (std::uint32_t word = 1; word <= 3; ++word) {
    require(write_by_reference(*stream, word) == Status::ok, "write failed");
  }
  const auto read = [&] {
    stream->begin_reading();
    Reading reading(*stream);
    take(reading, 1);
  };
  const auto try_to_read = [&] {
    for (unsigned turn = 0; !stream->try_begin_reading(); ++turn) spin_pause(turn);
    Reading reading(*stream);
    take(reading, 1);
  };
  parallel(read, read, try_to_read);
  require(stream->position() == 3 * kWord, "a word was lost");
}

/// Readers that begin under a lock of their own leave the role out, but for one that lets go of the
/// lock while it reads on, and ends without it.
void lock_stands_in_for_the_role() {
  const auto stream = ByteStream::create({.content_length = 2 * kWord, .retains = false});
  require(write_by_reference(*stream, 1) == Status::ok, "write failed");
  require(write_by_reference(*stream, 2) == Status::ok, "write failed");
  Atomic<std::uint32_t> lock{0};
  const auto acquire = [&] {
    for (unsigned turn = 0; lock.exchange(1, order::acquire("test")) != 0; ++turn) spin_pause(turn);
  };
  const auto release = [&] { lock.store(0, order::release("test")); };
  const auto await_others = [&] {
    for (acquire(); stream->is_being_read(); acquire()) {
      release();
      stream->begin_reading();
      stream->end_reading();
    }
  };
  parallel(
      [&] {
        await_others();
        Reading reading(*stream, Reading::Role::not_needed);
        reading.take_role();
        release();
        take(reading, 1);
      },
      [&] {
        await_others();
        {
          Reading reading(*stream, Reading::Role::not_needed);
          std::uint32_t word = 0;
          copy_out(&word, reading.here().data(), kWord);
          require(word == reading.position() / kWord + 1, "a word was lost, doubled or torn");
        }
        stream->consume_seen(kWord);
        release();
      });
  require(stream->position() == 2 * kWord, "a word was lost");
}

/// The bound is a part of what the reader waits for: it must see what left no room, and make some.
template <std::uint32_t Words>
void reader_waits_for_more_than_fits() {
  const auto stream = ByteStream::create({.max_unread = kWord, .retains = false});
  parallel(
      [&] {
        for (std::uint32_t word = 1; word <= Words; ++word) {
          require(write_or_wait(*stream, word) == Status::ok, "write failed");
        }
      },
      [&] { wait_for(*stream, Words); });
  require(stream->data_waiters().waiting() + stream->space_waiters().waiting() == 0,
          "somebody is still in line");
}

/// The word that left no room is another writer's: its own order does not make it visible.
void reader_sees_what_left_no_room() {
  const auto stream = ByteStream::create({.max_unread = kWord});
  const auto zero = [&] { require(write_or_wait(*stream, 0) == Status::ok, "write failed"); };
  parallel(zero, zero, [&] { wait_for(*stream, 2); });
}

/// A writer that does not wait marks the stream over the mark of one that does: who takes that mark
/// back must see what left no room for the other.
void mark_covers_another_writers() {
  const auto stream = ByteStream::create({.max_unread = kWord});
  parallel(
      [&] {
        require(write(*stream, 0) != Status::closed, "closed early");
        const Status status = write_or_wait(*stream, 0);
        require(status == Status::ok || status == Status::closed, "another end");
      },
      [&] { (void)write(*stream, 0); },
      [&] {
        wait_for(*stream, 2);
        stream->close();
      });
}

/// Both must wake, whatever comes first.
template <void (ByteStream::*End)() noexcept>
void end_wakes_both_sides() {
  const auto stream = ByteStream::create({.max_unread = kWord});
  require(write(*stream, 1) == Status::ok, "write failed");
  parallel(
      [&] {
        const Status status = write_or_wait(*stream, 2);
        require(status == Status::ok || status == Status::closed, "another end");
      },
      [&] {
        while (!stream->is_closed()) {
          {
            stream->begin_reading();
            Reading reading(*stream);
            reading.relieve();
          }
          await(*stream, 9 * kWord);
        }
      },
      [&] { ((*stream).*End)(); });
}

void writer_learns_that_the_reader_left() {
  const auto stream = ByteStream::create({.max_unread = kWord});
  stream->add_reader();
  require(write(*stream, 1) == Status::ok, "write failed");
  parallel([&] { require(write_or_wait(*stream, 2) == Status::no_reader, "there was room"); },
           [&] { stream->remove_reader(); });
}

/// A view and its stream are dropped by different threads, while a third still writes.
void view_outlives_its_stream() {
  auto stream = ByteStream::create({.content_length = 2 * kWord, .retains = false});
  require(write(*stream, 1) == Status::ok, "write failed");
  std::optional<Reading::Piece> piece;
  auto writers = stream;
  parallel(
      [&] {
        {
          stream->begin_reading();
          Reading reading(*stream);
          piece.emplace(reading.piece(kWord));
          reading.consume(kWord);
        }
        stream = {};
        std::uint32_t word = 0;
        copy_out(&word, piece->data, kWord);
        require(word == 1, "a view changed");
        piece.reset();
      },
      [&] {
        require(write(*writers, 2) == Status::ok, "write failed");
        writers = {};
      });
}

constexpr Case kCases[] = {
    {"StreamBringsEachWordOnceInOrder", bytes_arrive, {.limits = {2, 2}}},
    {"StreamReaderFollowsLinksAtOnce", links_are_followed<true>, {}},
    {"StreamReaderFreesWhatItLeaves", links_are_followed<false>, {}},
    {"StreamCopiesCrossABorder", copies_cross_a_border, {.limits = {2, 2}}},
    {"StreamEndsAfterItsBytes", end_comes_after_the_bytes, {}},
    {"StreamEndsAfterAnybodysBytes", end_comes_after_anybodys_bytes, {.limits = {2, 2}}},
    {"StreamAbortBringsItsReason", abort_brings_its_reason, {}},
    {"StreamHasOneEnd", first_end_counts, {.limits = {2, 2}}},
    {"StreamClosedByItsReaderIsComplete", readers_end_wins, {.limits = {2, 2}}},
    {"StreamWritersExcludeEachOther", writers_exclude_each_other, {}},
    {"StreamReadersExcludeEachOther", readers_exclude_each_other, {.limits = {2, 2}}},
    {"StreamRoleIsLeftOutUnderALock", lock_stands_in_for_the_role, {.limits = {2, 2}}},
    {"StreamReaderMayWaitForMoreThanFits",
     reader_waits_for_more_than_fits<2>,
     {.limits = {2, 2}, .most_executions = 60'000}},
    {"StreamReaderSeesWhatLeftNoRoom",
     reader_sees_what_left_no_room,
     {.limits = {2, 1}, .most_executions = 60'000}},
    {"StreamMarkCoversThatOfAnotherWriter",
     mark_covers_another_writers,
     {.limits = {2, 1}, .most_executions = 60'000}},
    {"StreamEndWakesBothSides",
     end_wakes_both_sides<&ByteStream::close>,
     {.limits = {2, 1}, .most_executions = 60'000}},
    {"StreamWriterLearnsThatTheReaderLeft", writer_learns_that_the_reader_left, {}},
    {"StreamViewOutlivesItsStream", view_outlives_its_stream, {.limits = {2, 2}}},
};

}  // namespace

std::span<const Case> stream_cases() { return kCases; }

}  // namespace penstock::model
