// SPDX-License-Identifier: Apache-2.0
#include "stream_case.hpp"

#include <unistd.h>

#include "hook.hpp"
#include "penstock/shared_stream.hpp"

namespace penstock::kill {

namespace {

using Bytes = std::vector<std::uint8_t>;
using End = ByteStream::End;

/// What a call that does not wait may take, whatever another process has done.
constexpr std::uint64_t kMostAccesses = 1000;

ByteStream::Options options_of(const StreamScript& script) {
  ByteStream::Options options;
  options.max_unread = script.max_size;
  options.retains = script.retains != 0;
  return options;
}

End end_of(ByteStream& stream) {
  stream.pull();
  stream.begin_reading();
  return ByteStream::Reading(stream).end();
}

}  // namespace

StreamCase::StreamCase(const char* script, Way way, const Target& target)
    : script_(*stream_script_named(script)), life_(way, target) {
  count_accesses_of_threads();
  domains_[0] = Domain::create();
  on_[0] = SharedStream::create(domains_[0], porter(), options_of(script_));
  const SharedMemory& memory = *writer().shared_memory();
  domains_[1] = Domain::join(dup(domains_[0]->descriptor()), domains_[0]->admit().value());
  on_[1] = SharedStream::attach(domains_[1], porter(),
                                SharedStream::map(dup(memory.descriptor()), memory.shape()),
                                memory.shape());
  EXPECT_EQ(domains_[0]->admit(), kVictim);
}

StreamCase::~StreamCase() {
  life_.end();
  writer().close();
  heir().close_by_reader();
  if (thread_.joinable()) thread_.join();
  on_[1] = {};
  on_[0] = {};
  for (const Ref<Domain>& domain : domains_) domain->leave();
}

// The victim
// ------------------------------------------------------------------------------------------------

void StreamCase::start_victim() {
  const SharedMemory& memory = *writer().shared_memory();
  life_.start(script_.name, {kVictim, memory.shape().capacity}, domains_[0]->descriptor(),
              memory.descriptor());
}

void StreamCase::work_without_it() {
  if (!is_writing()) try_write(20);
  const ByteStream::Progress progress = heir().progress();
  EXPECT_LE(progress.read, progress.written);
}

void StreamCase::bury() {
  domains_[0]->ended(kVictim);
  ASSERT_TRUE(eventually([&] { return domains_[0]->admit() == kVictim; })) << "not undone";
  EXPECT_EQ(report().failures.load(), 0U);
}

// The others
// ------------------------------------------------------------------------------------------------

void StreamCase::add_heir() {
  heir().add_reader();
  has_heir_ = true;
}

void StreamCase::try_write(std::size_t size) {
  std::uint64_t const before = accesses_of_thread();
  const Status status = writer().write(stream_bytes(written(), size));
  EXPECT_LT(accesses_of_thread() - before, kMostAccesses);
  if (status == Status::ok) written_ += size;
  const bool is_told = status == Status::closed && writer().is_closed();
  ASSERT_TRUE(status == Status::ok || status == Status::full || is_told);
}

Status StreamCase::write_waiting(std::size_t size) {
  ThreadWaiter me;
  for (;;) {
    writer().space_waiters().add(me);
    writer().want_room(size);
    Status status = writer().write(stream_bytes(written(), size));
    if (status == Status::full) status = writer().full_or_abandoned();
    auto wake = ThreadWaiter::Wake::fired;
    if (status == Status::full) wake = me.park(now_ns() + 3 * kPatience_ns);
    (void)me.leave(writer().space_waiters());
    if (status == Status::ok) written_ += size;
    if (status != Status::full || wake != ThreadWaiter::Wake::fired) return status;
  }
}

void StreamCase::start_writer(std::uint64_t pieces, std::size_t size) {
  is_writing_ = true;
  thread_ = std::thread([this, pieces, size] { write_all(pieces, size); });
}

void StreamCase::write_all(std::uint64_t pieces, std::size_t size) {
  for (std::uint64_t left = pieces; left != 0; --left) {
    const Status status = write_waiting(size);
    if (status == Status::ok) continue;
    EXPECT_TRUE(status == Status::closed || (status == Status::no_reader && !has_heir_))
        << static_cast<int>(status);
    break;
  }
  is_writing_ = false;
}

// What is expected
// ------------------------------------------------------------------------------------------------

void StreamCase::expect_end_of_writer() {
  EXPECT_TRUE(eventually([&] { return !is_writing(); })) << "the writer sleeps on";
}

void StreamCase::expect_rest() {
  // Who died before it could read at all is not missed.
  if (writer().full_or_abandoned() == Status::no_reader) expect_end_of_writer();
  if (!has_heir_) heir().add_reader();
  ASSERT_TRUE(heir().take_turn()) << "somebody reads who is dead";
  std::uint64_t const from = heir().position();
  if (end_of(heir()) == End::aborted) {
    expect_loss();
  } else {
    expect_bytes(from);
  }
  heir().remove_reader();
}

/// Only of one that died in a read for which it had taken bytes along.
void StreamCase::expect_loss() {
  EXPECT_TRUE(life_.is_cut_short());
  EXPECT_STREQ(script_.name, "stream_aside");
  EXPECT_LT(report().received.load(), report().begun.load());
  expect_end_of_writer();
  EXPECT_EQ(writer().write(stream_bytes(written(), 1)), Status::closed);
}

void StreamCase::expect_bytes(std::uint64_t from) {
  std::uint64_t const least = report().received.load();
  EXPECT_GE(from, least) << "what it had comes again";
  EXPECT_LE(from, life_.is_cut_short() ? report().begun.load() : least) << "bytes are missing";
  const bool is_closed = writer().is_closed_by_reader();
  std::uint64_t at = from;
  std::thread reader([&] {
    for (;;) {
      const Bytes bytes = read_stream(heir(), 700);
      EXPECT_EQ(bytes, stream_bytes(at, bytes.size()));
      at += bytes.size();
      if (bytes.size() < 700) break;
    }
  });
  expect_end_of_writer();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(write_waiting(script_.max_size / 2), is_closed ? Status::closed : Status::ok);
  }
  writer().close();
  reader.join();
  EXPECT_EQ(at, written()) << "bytes are missing";
  EXPECT_EQ(end_of(heir()), End::complete);
}

}  // namespace penstock::kill
