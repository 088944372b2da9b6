// SPDX-License-Identifier: Apache-2.0
#include "layout.hpp"

#include <cerrno>
#include <cstddef>
#include <initializer_list>
#include <memory>

#include "penstock/domain.hpp"
#include "penstock/io_uring/reactor.hpp"
#include "penstock/link.hpp"
#include "penstock/node_page.hpp"
#include "penstock/shared_queue.hpp"
#include "penstock/shared_stream.hpp"

namespace penstock::python {

namespace {

struct Number {
  const char* name;
  unsigned long long value;
};

/// The words of a ring, which only rings know.
struct Mpsc : MpscRing {
  using MpscRing::kAborted, MpscRing::kClaimed, MpscRing::kCommitted, MpscRing::kEntryLap,
      MpscRing::kEntryOwner, MpscRing::kEntryState, MpscRing::kShortRecord, MpscRing::kTailLength,
      MpscRing::kTailOwner, MpscRing::kTailPosition;
};

/// False: an exception is set.
bool add_table(PyObject* tables, const char* name, std::initializer_list<Number> numbers) {
  const PyRef table = PyRef::steal(PyDict_New());
  if (!table || PyDict_SetItemString(tables, name, table.get()) != 0) return false;
  for (const Number& number : numbers) {
    const PyRef value = PyRef::steal(PyLong_FromUnsignedLongLong(number.value));
    if (!value || PyDict_SetItemString(table.get(), number.name, value.get()) != 0) return false;
  }
  return true;
}

bool add_rings(PyObject* tables) {
  return add_table(tables, "ring",
                   {{"magic", offsetof(RingHeader, magic)},
                    {"version", offsetof(RingHeader, version)},
                    {"kind", offsetof(RingHeader, kind)},
                    {"capacity", offsetof(RingHeader, capacity)},
                    {"tail", offsetof(RingHeader, tail)},
                    {"head", offsetof(RingHeader, head)},
                    {"data", offsetof(RingHeader, data)},
                    {"space", offsetof(RingHeader, space)},
                    {"records", sizeof(RingHeader)}}) &&
         add_table(tables, "mpsc",
                   {{"granule", Mpsc::kGranule},
                    {"short_record", Mpsc::kShortRecord},
                    {"tail_owner", Mpsc::kTailOwner},
                    {"tail_length", Mpsc::kTailLength},
                    {"tail_position", Mpsc::kTailPosition},
                    {"entry_owner", Mpsc::kEntryOwner},
                    {"entry_state", Mpsc::kEntryState},
                    {"entry_lap", Mpsc::kEntryLap},
                    {"claimed", Mpsc::kClaimed},
                    {"committed", Mpsc::kCommitted},
                    {"aborted", Mpsc::kAborted},
                    {"least_capacity", Mpsc::kLeastCapacity}});
}

bool add_buffers(PyObject* tables) {
  return add_table(tables, "buffer",
                   {{"magic", offsetof(StreamHeader, magic)},
                    {"version", offsetof(StreamHeader, version)},
                    {"capacity", offsetof(StreamHeader, capacity)},
                    {"max_size", offsetof(StreamHeader, max_size)},
                    {"written", offsetof(StreamHeader, written)},
                    {"end", offsetof(StreamHeader, end)},
                    {"read", offsetof(StreamHeader, read)},
                    {"given_back", offsetof(StreamHeader, given_back)},
                    {"reader", offsetof(StreamHeader, reader)},
                    {"closed", offsetof(StreamHeader, closed)},
                    {"data", offsetof(StreamHeader, data)},
                    {"space", offsetof(StreamHeader, space)},
                    {"readers", offsetof(StreamHeader, readers)},
                    {"bytes", sizeof(StreamHeader)}});
}

bool add_segments(PyObject* tables) {
  const Link::Layout link = Link::layout();
  constexpr int vm = static_cast<int>(Link::Side::vm);
  constexpr int worker = static_cast<int>(Link::Side::worker);
  return add_table(tables, "channel",
                   {{"magic", offsetof(SharedHeader, magic)},
                    {"version", offsetof(SharedHeader, version)},
                    {"capacity", offsetof(SharedHeader, capacity)},
                    {"max_size", offsetof(SharedHeader, max_size)},
                    {"content", offsetof(SharedHeader, content)},
                    {"data", offsetof(SharedHeader, data)},
                    {"space", offsetof(SharedHeader, space)},
                    {"senders", offsetof(SharedHeader, senders)},
                    {"consumer", offsetof(SharedHeader, consumer)},
                    {"leased", offsetof(SharedHeader, leased)},
                    {"next", offsetof(SharedHeader, next)},
                    {"leases", offsetof(SharedHeader, leases)},
                    {"ring", sizeof(SharedHeader)}}) &&
         add_table(tables, "link",
                   {{"vm_asleep", link.asleep[vm]},
                    {"vm_wants_room", link.wants_room[vm]},
                    {"worker_asleep", link.asleep[worker]},
                    {"worker_wants_room", link.wants_room[worker]},
                    {"to_worker", link.ring_to[worker]},
                    {"to_vm", link.ring_to[vm]},
                    {"capacity", Link::kCapacity},
                    {"bytes", Link::bytes()}}) &&
         add_table(tables, "bells",
                   {{"stride", Domain::kBellStride},
                    {"rings", 0},
                    {"pid", Domain::kPidOffset},
                    {"processes", Domain::kMost}});
}

bool add_node(PyObject* tables) {
  constexpr std::size_t counters = offsetof(NodePage, counters);
  return add_table(tables, "node",
                   {{"magic", offsetof(NodePage, magic)},
                    {"version", offsetof(NodePage, version)},
                    {"channels", counters + offsetof(NodeCounters, channels)},
                    {"buffers", counters + offsetof(NodeCounters, buffers)},
                    {"waiters", counters + offsetof(NodeCounters, waiters)},
                    {"calls", counters + offsetof(NodeCounters, calls)},
                    {"contexts", counters + offsetof(NodeCounters, contexts)},
                    {"event_loops", counters + offsetof(NodeCounters, event_loops)},
                    {"pinned_bytes", counters + offsetof(NodeCounters, pinned_bytes)},
                    {"atoms_created", counters + offsetof(NodeCounters, atoms_created)},
                    {"dropped_sends", counters + offsetof(NodeCounters, dropped_sends)}}) &&
         add_table(tables, "known",
                   {{"channel_magic", SharedHeader::kMagic},
                    {"channel_version", SharedHeader::kVersion},
                    {"channel_leases", SharedHeader::kLeases},
                    {"buffer_magic", StreamHeader::kMagic},
                    {"buffer_version", StreamHeader::kVersion},
                    {"ring_magic", kRingMagic},
                    {"ring_version", kRingVersion},
                    {"one_producer", static_cast<unsigned>(RingKind::spsc)},
                    {"several_producers", static_cast<unsigned>(RingKind::mpsc)},
                    {"node_magic", NodePage::kMagic},
                    {"node_version", NodePage::kVersion}});
}

PyObject* layout(PyObject*, PyObject*) {
  PyRef tables = PyRef::steal(PyDict_New());
  if (!tables || !add_rings(tables.get()) || !add_segments(tables.get()) ||
      !add_buffers(tables.get()) || !add_node(tables.get())) {
    return nullptr;
  }
  return tables.take();
}

PyObject* try_io_uring(PyObject*, PyObject*) {
  using io_uring::Preference, io_uring::Reactor;
  errno = 0;
  const std::unique_ptr<Reactor> reactor = Reactor::create(Preference::io_uring);
  return PyLong_FromLong(reactor != nullptr ? 0 : errno);
}

}  // namespace

PyMethodDef layout_functions[] = {
    {"_layout", layout, METH_NOARGS,
     "_layout()\n--\n\n"
     "Where things lie in shared memory: tables of numbers by name, as penstock.layout has them."},
    {"_try_io_uring", try_io_uring, METH_NOARGS,
     "_try_io_uring()\n--\n\n"
     "Make what an event loop sleeps in, out of io_uring: 0, or the errno of what was refused."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace penstock::python
