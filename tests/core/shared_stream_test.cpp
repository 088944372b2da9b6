// SPDX-License-Identifier: Apache-2.0
// Streams that processes share, with several "processes" in this one: each has a domain and a
// mapping of its own.
#include "penstock/shared_stream.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "streams.hpp"
#include "support.hpp"

namespace penstock {
namespace {

using test::Bytes;
using test::Reader;
using test::stream_bytes;
using End = ByteStream::End;

wire::ValuePorter porter(0);

ByteStream::Options bounded(std::uint64_t max_unread) {
  ByteStream::Options options;
  options.max_unread = max_unread;
  return options;
}

/// The first of them writes.
struct Processes {
  explicit Processes(unsigned count, const ByteStream::Options& options = {}) {
    domains.push_back(Domain::create());
    streams.push_back(SharedStream::create(domains[0], porter, options));
    while (domains.size() < count) join();
  }
  ~Processes() {
    streams.clear();
    for (const Ref<Domain>& domain : domains) domain->leave();
  }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  [[nodiscard]] const SharedStream& store() const {
    return *static_cast<const SharedStream*>(streams[0]->shared_memory());
  }
  void join() {
    const unsigned number = domains[0]->admit().value();
    domains.push_back(Domain::join(dup(domains[0]->descriptor()), number));
#ifdef __SANITIZE_THREAD__
    // It takes two mappings of one memory for two, and sees no order between them.
    auto memory = store().memory();
#else
    auto memory = SharedStream::map(dup(store().descriptor()), store().shape());
#endif
    streams.push_back(
        SharedStream::attach(domains.back(), porter, std::move(memory), store().shape()));
  }
  [[nodiscard]] StreamHeader& header() const {
    return *reinterpret_cast<StreamHeader*>(store().memory()->memory().data());
  }
  ByteStream& operator[](std::size_t index) const { return *streams[index]; }

  std::vector<Ref<Domain>> domains;
  std::vector<Ref<ByteStream>> streams;
};

/// Somebody in a process who might read, and does.
class Client {
 public:
  explicit Client(ByteStream& stream) : stream_(stream) { stream.add_reader(); }
  ~Client() { stream_.remove_reader(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  [[nodiscard]] bool may_read() { return stream_.take_turn(); }
  /// `count` bytes, or fewer before an end; waits as Python's reads do.
  Bytes read(std::size_t count) {
    EXPECT_TRUE(may_read());
    for (;;) {
      std::uint64_t wanted = 0;
      {
        stream_.pull();
        Reader reader(stream_);
        const End end = reader->end();
        const auto there = static_cast<std::size_t>(reader->available());
        if (there >= count || end != End::open) return reader.take(std::min(there, count));
        reader->relieve();
        wanted = std::min(
            reader->position() + count,
            reader->written() + std::max<std::uint64_t>(1, stream_.options().max_unread / 2));
      }
      ThreadWaiter me;
      ThreadWaiter::Wake wake{};
      EXPECT_EQ(stream_.await(wanted, now_ns() + 20'000'000'000, me, &wake), Status::ok);
    }
  }
  End end() {
    stream_.pull();
    return Reader(stream_)->end();
  }
  /// The atom that it was aborted with.
  std::string reason() {
    Reader reader(stream_);
    if (reader->end() != End::aborted || reader->reason() == nullptr) return "none";
    wire::Reader terms(reader->reason()->bytes());
    wire::Item item{};
    if (terms.next(item) != Status::ok || item.tag != wire::kSmallAtom) return "no atom";
    return {reinterpret_cast<const char*>(item.bytes.data()), item.bytes.size()};
  }

 private:
  ByteStream& stream_;
};

std::unique_ptr<Message> atom(std::string_view name) {
  auto message = std::make_unique<Message>();
  EXPECT_TRUE(wire::Writer(*message).atom(name));
  return message;
}

/// Waits for room: ok, or what came in its place.
Status write_waiting(ByteStream& stream, const Bytes& bytes) {
  ThreadWaiter me;
  for (;;) {
    stream.space_waiters().add(me);
    stream.want_room(bytes.size());
    Status status = stream.write(bytes);
    if (status == Status::full) status = stream.full_or_abandoned();
    auto wake = ThreadWaiter::Wake::fired;
    if (status == Status::full) wake = me.park(now_ns() + 20'000'000'000);
    (void)me.leave(stream.space_waiters());
    if (status != Status::full || wake != ThreadWaiter::Wake::fired) return status;
  }
}

void until_waiting_near(WaitList& line, std::uint32_t count) {
  while (line.waiting_near() != count) std::this_thread::yield();
}

TEST(SharedStreams, BoundWhatIsWrittenAndNotReadToTheByte) {
  const Processes on(2, bounded(10));
  Client client(on[1]);
  EXPECT_EQ(on[0].write(stream_bytes(0, 11)), Status::too_large);
  for (std::uint64_t at = 0; at < 100'000; at += 10) {
    ASSERT_EQ(on[0].write(stream_bytes(at, 7)), Status::ok);
    ASSERT_EQ(on[0].write(stream_bytes(at + 7, 4)), Status::full);
    ASSERT_EQ(on[0].write(stream_bytes(at + 7, 3)), Status::ok);
    ASSERT_EQ(on[0].write(stream_bytes(at, 1)), Status::full);
    ASSERT_EQ(client.read(3), stream_bytes(at, 3));
    ASSERT_EQ(client.read(7), stream_bytes(at + 3, 7));
  }
  EXPECT_EQ(on[0].progress().read, 100'000U);
  EXPECT_EQ(on[1].progress().written, 100'000U);
}

TEST(SharedStreams, RefuseMoreThanWasAnnouncedOrIsAllowed) {
  ByteStream::Options options = bounded(100);
  options.content_length = 20;
  const Processes on(2, options);
  EXPECT_EQ(on[1].options().content_length, 20U);
  EXPECT_EQ(on[0].write(stream_bytes(0, 15)), Status::ok);
  EXPECT_EQ(on[0].write(stream_bytes(15, 6)), Status::too_long);
  EXPECT_EQ(on[0].write(stream_bytes(15, 5)), Status::ok);
  Client client(on[1]);
  EXPECT_EQ(client.read(100), stream_bytes(0, 20));
  EXPECT_EQ(client.end(), End::complete);

  options = bounded(100);
  options.limit = 5;
  const Processes limited(2, options);
  EXPECT_EQ(limited[0].write(stream_bytes(0, 5)), Status::ok);
  EXPECT_EQ(limited[0].write(stream_bytes(5, 1)), Status::limit);
  EXPECT_EQ(limited[0].write(stream_bytes(5, 1)), Status::closed);
  Client reader(limited[1]);
  EXPECT_EQ(reader.read(5), stream_bytes(0, 5));
  EXPECT_EQ(reader.end(), End::aborted);
  EXPECT_EQ(reader.reason(), "limit");
}

TEST(SharedStreams, TheProcessThatMadeItReadsAsWell) {
  const Processes on(2, bounded(10));
  Client client(on[0]);
  ASSERT_EQ(on[0].write(stream_bytes(0, 10)), Status::ok);
  EXPECT_EQ(client.read(10), stream_bytes(0, 10));
  Client other(on[1]);
  EXPECT_FALSE(other.may_read());
}

class SharedStreamSizes : public testing::TestWithParam<std::uint64_t> {};

/// Reads and writes of all sizes, each side waiting for the other; also reads of more than fits.
TEST_P(SharedStreamSizes, DeliverEachByteInOrder) {
  std::uint64_t const limit = GetParam();
  ByteStream::Options options = bounded(limit);
  options.retains = false;
  const Processes on(2, options);
  const std::uint64_t total = std::min<std::uint64_t>(limit * 2000, test::scaled(40'000'000));
  Client client(on[1]);
  std::thread writer([&] {
    std::mt19937_64 random(1);
    for (std::uint64_t at = 0; at < total;) {
      const std::uint64_t count = std::min(total - at, 1 + random() % limit);
      ASSERT_EQ(write_waiting(on[0], stream_bytes(at, count)), Status::ok);
      at += count;
    }
    on[0].close();
  });
  std::mt19937_64 random(2);
  std::uint64_t at = 0;
  for (;;) {
    const Bytes bytes = client.read(1 + random() % (3 * limit));
    ASSERT_EQ(bytes, stream_bytes(at, bytes.size()));
    at += bytes.size();
    if (bytes.empty()) break;
  }
  EXPECT_EQ(at, total);
  EXPECT_EQ(client.end(), End::complete);
  writer.join();
}

INSTANTIATE_TEST_SUITE_P(Limits, SharedStreamSizes, testing::Values(1, 10, 4096, 5000, 100'000));

TEST(SharedStreams, AreReadByOneProcessAtATime) {
  const Processes on(3, bounded(1000));
  ASSERT_EQ(on[0].write(stream_bytes(0, 500)), Status::ok);
  auto first = std::make_unique<Client>(on[1]);
  EXPECT_EQ(first->read(100), stream_bytes(0, 100));
  Client second(on[2]);
  EXPECT_FALSE(second.may_read());
  {
    Client another(on[1]);
    first.reset();
    EXPECT_EQ(another.read(50), stream_bytes(100, 50));
    EXPECT_FALSE(second.may_read());
  }
  // Nobody is left there: it goes on where they stopped, and may come back.
  ASSERT_EQ(on[0].write(stream_bytes(500, 650)), Status::ok);
  EXPECT_EQ(second.read(400), stream_bytes(150, 400));
  EXPECT_EQ(Reader(on[2])->base(), 150U);
  first = std::make_unique<Client>(on[1]);
  EXPECT_FALSE(first->may_read());
  on.streams[2]->remove_reader();
  EXPECT_EQ(first->read(600), stream_bytes(550, 600));
  on.streams[2]->add_reader();
}

TEST(SharedStreams, EndsCrossBehindWhatWasWritten) {
  for (const bool is_closed : {true, false}) {
    const Processes on(2, bounded(1000));
    Client client(on[1]);
    std::thread reader([&] {
      EXPECT_EQ(client.read(100), stream_bytes(0, 60));
      EXPECT_EQ(client.end(), is_closed ? End::complete : End::aborted);
      EXPECT_EQ(client.reason(), is_closed ? "none" : "gone");
    });
    until_waiting_near(on[1].data_waiters(), 1);
    ASSERT_EQ(on[0].write(stream_bytes(0, 60)), Status::ok);
    is_closed ? on[0].close() : (void)on[0].abort(atom("gone"));
    EXPECT_EQ(on[0].write(stream_bytes(60, 1)), Status::closed);
    reader.join();
  }
}

TEST(SharedStreams, RefuseAReasonForWhichThereIsNoRoom) {
  const Processes on(2);
  auto long_reason = std::make_unique<Message>();
  ASSERT_TRUE(wire::Writer(*long_reason).bytes(wire::kBinary, Bytes(StreamHeader::kReason)));
  EXPECT_EQ(on[0].abort(std::move(long_reason)), Status::too_large);
  EXPECT_EQ(on[0].write(stream_bytes(0, 1)), Status::ok);
  EXPECT_EQ(on[0].abort(nullptr), Status::ok);
  Client client(on[1]);
  EXPECT_EQ(client.read(1), stream_bytes(0, 1));
  EXPECT_EQ(client.end(), End::aborted);
  EXPECT_EQ(client.reason(), "none");
}

TEST(SharedStreams, AnyReadersSideCloses) {
  const Processes on(3, bounded(10));
  Client client(on[1]);
  ASSERT_EQ(on[0].write(stream_bytes(0, 10)), Status::ok);
  std::thread writer([&] { EXPECT_EQ(write_waiting(on[0], stream_bytes(10, 1)), Status::closed); });
  until_waiting_near(on[0].space_waiters(), 1);
  on[2].close_by_reader();
  writer.join();
  EXPECT_TRUE(on[1].is_closed_by_reader());
  EXPECT_EQ(client.read(100), stream_bytes(0, 10));
  EXPECT_EQ(client.end(), End::complete);
}

TEST(SharedStreams, AWriterLearnsThatNobodyReadsAnyMore) {
  const Processes on(3, bounded(10));
  ASSERT_EQ(on[0].write(stream_bytes(0, 10)), Status::ok);
  std::thread writer(
      [&] { EXPECT_EQ(write_waiting(on[0], stream_bytes(10, 1)), Status::no_reader); });
  until_waiting_near(on[0].space_waiters(), 1);
  on[1].add_reader();
  on[2].add_reader();
  on[1].remove_reader();
  EXPECT_EQ(on[0].full_or_abandoned(), Status::full);
  on[2].remove_reader();
  writer.join();
  Client client(on[2]);
  EXPECT_EQ(client.read(4), stream_bytes(0, 4));
  EXPECT_EQ(on[0].write(stream_bytes(10, 1)), Status::ok);
}

/// Somebody else there has dealt with what it was for, and then it is called for nothing.
TEST(SharedStreams, ACallInVainLosesNobodysWish) {
  const Processes on(2, bounded(1000));
  Client client(on[1]);
  std::thread reader([&] { EXPECT_EQ(client.read(100), stream_bytes(0, 100)); });
  until_waiting_near(on[1].data_waiters(), 1);
  for (std::uint64_t at = 0; at < 100; at += 10) {
    on.header().wanted_data.store(UINT64_MAX);
    on[0].data_waiters().wake_all();
    while (on.header().wanted_data.load() != 100) std::this_thread::yield();
    EXPECT_EQ(on[1].data_waiters().waiting_near(), 1U);
    ASSERT_EQ(on[0].write(stream_bytes(at, 10)), Status::ok);
  }
  reader.join();
}

/// What a process that is killed may leave behind: its turn, marks, a reader.
TEST(SharedStreams, GoOnWithoutAReaderThatIsDead) {
  for (int turn = 0; turn < 10; ++turn) {
    const Processes on(3, bounded(100));
    ASSERT_EQ(on[0].write(stream_bytes(0, 100)), Status::ok);
    on[1].add_reader();
    ASSERT_TRUE(on[1].take_turn());
    on[1].pull();
    EXPECT_EQ(Reader(on[1]).take(30), stream_bytes(0, 30));
    on.header().data.fetch_or(2);
    std::thread writer(
        [&] { EXPECT_EQ(write_waiting(on[0], stream_bytes(100, 70)), Status::no_reader); });
    until_waiting_near(on[0].space_waiters(), 1);
    Client other(on[2]);
    EXPECT_FALSE(other.may_read());
    on[2].remove_reader();
    on.domains[0]->ended(1);
    writer.join();
    on[2].add_reader();
    EXPECT_EQ(other.read(70), stream_bytes(30, 70));
    while (on.domains[0]->admit() != 1U) std::this_thread::yield();
  }
}

/// It had more at a time than a writer may write ahead, and delivered nothing of that.
TEST(SharedStreams, AreOverIfAReaderGoesWithWhatItHadSetAside) {
  for (const bool dies : {true, false}) {
    const Processes on(3, bounded(100));
    on[1].add_reader();
    ASSERT_TRUE(on[1].take_turn());
    ASSERT_EQ(on[0].write(stream_bytes(0, 100)), Status::ok);
    ASSERT_EQ(on[0].write(stream_bytes(100, 1)), Status::full);
    on[1].pull();
    Reader(on[1])->relieve();
    ASSERT_EQ(on[0].write(stream_bytes(100, 1)), Status::ok);
    dies ? on.domains[0]->ended(1) : on[1].remove_reader();
    while (!on[0].is_closed()) std::this_thread::yield();
    EXPECT_EQ(on[0].write(stream_bytes(101, 1)), Status::closed);
    Client client(on[2]);
    while (!client.may_read()) std::this_thread::yield();
    EXPECT_EQ(client.read(100), Bytes());
    EXPECT_EQ(client.end(), End::aborted);
    EXPECT_EQ(client.reason(), "reader_down");
  }
}

/// More came while it made room for itself, and it took that along: when it went, having read what
/// it wanted, the stream was lost.
TEST(SharedStreams, AreNotOverIfAReaderHadAllThatItWanted) {
  const Processes on(2, bounded(10));
  on[1].add_reader();
  ASSERT_TRUE(on[1].take_turn());
  ASSERT_EQ(on[0].write(stream_bytes(0, 6)), Status::ok);
  on[1].pull();  // It wants 8.
  ASSERT_EQ(on[0].write(stream_bytes(6, 4)), Status::ok);
  ASSERT_EQ(on[0].write(stream_bytes(10, 1)), Status::full);
  Reader(on[1])->relieve();
  EXPECT_EQ(on[0].write(stream_bytes(10, 6)), Status::ok);
  EXPECT_TRUE(on[1].is_worth_a_look(100)) << "a writer may want more room than that";
  EXPECT_EQ(Reader(on[1]).take(8), stream_bytes(0, 8));
  on[1].remove_reader();
  Client client(on[0]);
  EXPECT_EQ(client.read(8), stream_bytes(8, 8));
}

/// A read that was given up has lost nothing, for who comes next.
TEST(SharedStreams, KeepWhatAReaderOnlyLookedAt) {
  const Processes on(2, bounded(100));
  on[1].add_reader();
  ASSERT_TRUE(on[1].take_turn());
  ASSERT_EQ(on[0].write(stream_bytes(0, 40)), Status::ok);
  Reader(on[1])->relieve();
  on[1].remove_reader();
  Client client(on[0]);
  EXPECT_EQ(client.read(40), stream_bytes(0, 40));
}

TEST(SharedStreams, GoBackToWhatThisProcessHasRead) {
  const Processes on(2, bounded(100));
  Client client(on[1]);
  ASSERT_EQ(on[0].write(stream_bytes(0, 100)), Status::ok);
  EXPECT_EQ(client.read(100), stream_bytes(0, 100));
  Reader(on[1])->seek(10);
  EXPECT_EQ(on[0].write(stream_bytes(100, 100)), Status::ok);
  EXPECT_EQ(client.read(190), stream_bytes(10, 190));
}

/// Whoever maps it may write anything, at any time.
TEST(SharedStreams, SurviveNonsense) {
  std::mt19937_64 random(3);
  for (int turn = 0; turn < 300; ++turn) {
    const Processes on(3, bounded(1000));
    const std::size_t reader = turn % 2;
    on[reader].add_reader();
    ASSERT_TRUE(on[reader].take_turn());
    (void)on[0].write(stream_bytes(0, 600));
    on[reader].pull();
    (void)Reader(on[reader]).take(300);
    StreamHeader& header = on.header();
    std::uint64_t const values[] = {0, 1, 299, 301, 1000, UINT64_MAX, random(), random() % 2000};
    std::uint64_t const value = values[random() % std::size(values)];
    Atomic<std::uint64_t>* const words[] = {&header.written,     &header.read,
                                            &header.given_back,  &header.data,
                                            &header.wanted_data, &header.space};
    words[random() % std::size(words)]->store(value);
    Atomic<std::uint32_t>* const flags[] = {&header.end, &header.reader, &header.lost,
                                            &header.closed, &header.pressed};
    if (turn % 3 == 0) flags[random() % std::size(flags)]->store(static_cast<std::uint32_t>(value));
    header.reason_size = static_cast<std::uint32_t>(value);
    for (int i = 0; i < 3; ++i) {
      (void)on[0].write(stream_bytes(600, 100));
      on[reader].pull();
      Reader(on[reader])->relieve();
      (void)Reader(on[reader]).take_all();
      (void)on[0].progress();
    }
    EXPECT_LE(on[0].progress().written, 900U);
    (void)on[0].abort(atom("end"));
    on[reader].remove_reader();
  }
}

/// A child has none of the memory.
TEST(SharedStreams, AreOverInAForkedChild) {
  const Processes on(2, bounded(100));
  Client client(on[1]);
  ASSERT_EQ(on[0].write(stream_bytes(0, 50)), Status::ok);
  ASSERT_EQ(client.read(10), stream_bytes(0, 10));
  const pid_t child = fork();
  if (child == 0) {
    const bool is_over = on[0].write(stream_bytes(50, 1)) == Status::closed && on[1].is_closed() &&
                         client.end() == End::aborted && on[0].progress().read == 0;
    on[1].close_by_reader();
    on[1].remove_reader();
    on[0].close();
    _exit(is_over ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(client.read(40), stream_bytes(10, 40));
}

}  // namespace
}  // namespace penstock
