// SPDX-License-Identifier: Apache-2.0
#include "stream_victim.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "eventually.hpp"
#include "hook.hpp"
#include "penstock/shared_stream.hpp"
#include "victim.hpp"

namespace penstock::kill {

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr StreamScript kScripts[] = {
    {"stream_read", 1000, 0, {300, 1, 500}},
    {"stream_read_retained", 1000, 1, {300, 1, 500}},
    {"stream_wait", 1000, 0, {100, 100, 100}},
    // The ring comes round.
    {"stream_full", 4000, 0, {1500, 1500, 1500}},
    // Of more than there may be at a time.
    {"stream_aside", 1000, 0, {300, 2500, 100}},
    {"stream_close", 1000, 0, {300, 1, 1}},
};

void note_failure(Report& report) { report.failures.fetch_add(1); }

void read_one(ByteStream& stream, Report& report, std::uint64_t index, std::size_t count) {
  while (report.go.load() <= index) sched_yield();
  std::uint64_t const at = report.received.load();
  report.begun.store(at + count);
  if (!stream.take_turn() || stream.position() != at) note_failure(report);
  if (read_stream(stream, count) != stream_bytes(at, count)) note_failure(report);
  report.received.store(at + count);
}

}  // namespace

const StreamScript* stream_script_named(std::string_view name) {
  for (const StreamScript& script : kScripts) {
    if (script.name == name) return &script;
  }
  std::abort();
}

Bytes stream_bytes(std::uint64_t from, std::size_t count) {
  Bytes bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = stream_byte(from + i);
  return bytes;
}

Bytes read_stream(ByteStream& stream, std::size_t count) {
  for (;;) {
    std::uint64_t wanted = 0;
    stream.pull();
    stream.begin_reading();
    {
      ByteStream::Reading reading(stream);
      const bool is_ended = reading.end() != ByteStream::End::open;
      const auto there = static_cast<std::size_t>(reading.available());
      if (there >= count || is_ended) {
        Bytes bytes(std::min(there, count));
        reading.copy(reading.position(), bytes.data(), bytes.size());
        reading.consume(bytes.size());
        return bytes;
      }
      reading.relieve();
      wanted =
          std::min(reading.position() + count,
                   reading.written() + std::max<std::uint64_t>(1, stream.options().max_unread / 2));
    }
    ThreadWaiter me;
    ThreadWaiter::Wake woken{};
    if (stream.await(wanted, now_ns() + 3 * kPatience_ns, me, &woken) != Status::ok) return {};
  }
}

void stream_victim(std::string_view name, Report& report, const Target& target, Fate fate,
                   unsigned number, std::uint64_t capacity) {
  const StreamScript& script = *stream_script_named(name);
  const SharedShape shape{.capacity = capacity,
                          .max_size = script.max_size,
                          .content = SharedShape::kStream,
                          .retains = script.retains};
  const Ref<Domain> domain = Domain::join(kFirstDescriptor, number);
  Ref<ByteStream> stream =
      SharedStream::attach(domain, porter(), SharedStream::map(kSecondDescriptor, shape), shape);
  arm(report, target, fate);
  stream->add_reader();
  for (std::size_t index = 0; index < script.reads.size(); ++index) {
    read_one(*stream, report, index, script.reads[index]);
  }
  if (name == "stream_close") stream->close_by_reader();
  stream->remove_reader();
  stream = {};
  _exit(report.failures.load() == 0 ? 0 : 1);
}

}  // namespace penstock::kill
