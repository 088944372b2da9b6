// SPDX-License-Identifier: Apache-2.0
#include "weak_memory.hpp"

#include <algorithm>
#include <cstring>

#include "decisions.hpp"
#include "engine.hpp"

namespace penstock::model {

namespace {

constexpr unsigned kVector = 16;  // Slots to a step of join.
constexpr std::size_t kPoolSlots = std::size_t{4} << 20;

std::uint64_t bytes_at(Word word) {
  std::uint64_t value = 0;
  std::memcpy(&value, word.address, word.bytes);
  return value;
}

void put_bytes(std::uintptr_t address, unsigned bytes, std::uint64_t value) {
  std::memcpy(reinterpret_cast<void*>(address), &value, bytes);
}

std::uint64_t applied(Update what, std::uint64_t old, std::uint64_t operand, unsigned bytes) {
  std::uint64_t value = operand;
  switch (what) {
    case Update::exchange:
      break;
    case Update::add:
      value = old + operand;
      break;
    case Update::subtract:
      value = old - operand;
      break;
    case Update::bit_or:
      value = old | operand;
      break;
    case Update::bit_and:
      value = old & operand;
      break;
    case Update::bit_xor:
      value = old ^ operand;
      break;
  }
  return bytes == 8 ? value : value & 0xFFFFFFFFU;
}

}  // namespace

WeakMemory::WeakMemory(Shadow& shadow, Arena& arena, Decisions& decisions)
    : shadow_(shadow), arena_(arena), decisions_(decisions), views_{}, fences_{} {
  locations_.resize(kMaxSlots);
  for (Location& location : locations_) location.messages.reserve(64);
  pool_.resize(kPoolSlots);
  not_ordered_.reserve(64);
  slots_ = kMaxSlots;  // Clears everything in the first reset.
}

void WeakMemory::reset() {
  for (ThreadView& view : views_) {
    std::memset(view.current, 0, slots_ * sizeof view.current[0]);
    std::memset(view.acquired, 0, slots_ * sizeof view.acquired[0]);
    std::memset(view.released, 0, slots_ * sizeof view.released[0]);
    view.has_acquired = view.has_released = false;
  }
  std::memset(fences_, 0, slots_ * sizeof fences_[0]);
  slots_ = kVector;
  location_count_ = 0;
  pool_used_ = 0;
  for (const auto& [word, value] : originals_) {
    put_bytes(reinterpret_cast<std::uintptr_t>(word.address), word.bytes, value);
  }
  originals_.clear();
  elsewhere_.clear();
  mortal_ = kMaxThreads;
  progress_ = 0;
  stale_reads_ = 0;
  for (unsigned thread = 0; thread < kMaxThreads; ++thread) views_[thread].current[thread] = 1;
}

void WeakMemory::tick(unsigned me) {
  if (++views_[me].current[me] == 0) fail("an execution too long for the explorer's clocks");
}

void WeakMemory::start_thread(unsigned child, unsigned parent) {
  join(views_[child].current, views_[parent].current, slots_);
  tick(parent);
}

void WeakMemory::join_thread(unsigned child, unsigned parent) {
  join(views_[parent].current, views_[child].current, slots_);
}

void WeakMemory::join(Slots into, const std::uint16_t* from, unsigned slots) const {
  for (unsigned slot = 0; slot < slots; ++slot) into[slot] = std::max(into[slot], from[slot]);
}

Slots WeakMemory::keep(const std::uint16_t* view) {
  if (pool_used_ + slots_ > pool_.size()) fail("an execution too long for the explorer's views");
  std::uint16_t* const kept = pool_.data() + pool_used_;
  std::memcpy(kept, view, slots_ * sizeof *kept);
  pool_used_ += slots_;
  return kept;
}

// Locations
// ------------------------------------------------------------------------------------------

WeakMemory::Location* WeakMemory::find(const void* address) {
  const auto key = reinterpret_cast<std::uintptr_t>(address);
  std::uint16_t index = 0;
  if (arena_.contains(key)) {
    index = shadow_.cell(key).location;
  } else if (auto found = elsewhere_.find(key); found != elsewhere_.end()) {
    index = found->second;
  }
  return index == 0 ? nullptr : &locations_[index - 1U];
}

WeakMemory::Location& WeakMemory::create(Word word) {
  const unsigned slot = kMaxThreads + location_count_;
  if (slot == kMaxSlots) fail("too many atomics for the explorer");
  Location& location = locations_[location_count_++];
  location.address = reinterpret_cast<std::uintptr_t>(word.address);
  location.slot = static_cast<std::uint16_t>(slot);
  location.first = 0;  // A restart follows, and makes it 1.
  location.kernel_floor = 0;
  location.bytes = static_cast<std::uint8_t>(word.bytes);
  location.messages.clear();
  location.restart = true;
  if (slot >= slots_) slots_ += kVector;
  if (arena_.contains(location.address)) {
    shadow_.cell(location.address).location = static_cast<std::uint16_t>(location_count_);
  } else {
    const Suspended no_arena;
    elsewhere_[location.address] = static_cast<std::uint16_t>(location_count_);
    originals_.emplace_back(word, bytes_at(word));
  }
  return location;
}

WeakMemory::Location& WeakMemory::at(unsigned me, Word word) {
  Location* location = find(word.address);
  if (location == nullptr) location = &create(word);
  if (location->restart) {
    location->first = static_cast<std::uint16_t>(location->first + location->messages.size());
    if (location->first == 0) location->first = 1;
    location->messages.clear();
    location->messages.push_back({bytes_at(word), nullptr, 0, kMaxThreads});
    location->restart = false;
  }
  // The plain write that started the history is ordered before us, or this is a race.
  if (arena_.contains(location->address)) {
    unsigned other = 0;
    const char* problem = shadow_.check<Access::atomic>(location->address, word.bytes, me,
                                                        views_[me].current, &other);
    if (problem != nullptr) fail_race("an atomic access", problem, word.address, other);
  }
  return *location;
}

// Accesses
// ------------------------------------------------------------------------------------------

/// Newest first, so that the first path of a search is the sequentially consistent one.
std::uint16_t WeakMemory::choose(unsigned me, const Location& location, std::uint16_t floor) {
  std::uint16_t const oldest = std::max({location.first, floor, views_[me].current[location.slot]});
  const unsigned count = location.newest() - oldest + 1U;
  if (count == 1 || stale_reads_ >= decisions_.limits().stale_reads) return location.newest();
  const unsigned age = decisions_.choose_store(count);
  if (age != 0) ++stale_reads_;
  return static_cast<std::uint16_t>(location.newest() - age);
}

std::uint64_t WeakMemory::read(unsigned me, Location& location, std::uint16_t timestamp,
                               bool acquire) {
  ThreadView& view = views_[me];
  Message& message = location.messages[timestamp - location.first];
  message.is_known |= message.writer != me;
  last_look_ = {location.slot, timestamp};
  view.current[location.slot] = std::max(view.current[location.slot], timestamp);
  if (message.view != nullptr) {
    join(acquire ? view.current : view.acquired, message.view, message.slots);
    view.has_acquired |= !acquire;
  }
  return message.value;
}

void WeakMemory::append(unsigned me, Location& location, std::uint64_t value, bool release,
                        const Message* replaced) {
  ThreadView& view = views_[me];
  if (location.newest() == UINT16_MAX) fail("an execution too long for the explorer's timestamps");
  if (location.messages.back().value != value) ++progress_;
  const auto timestamp = static_cast<std::uint16_t>(location.newest() + 1);
  view.current[location.slot] = timestamp;

  const auto writer = static_cast<std::uint16_t>(me);
  Message message{value, nullptr, 0, writer};
  if (release || view.has_released) {
    const Slots carried = keep(release ? view.current : view.released);
    message = {value, carried, static_cast<std::uint16_t>(slots_), writer};
    if (replaced != nullptr && replaced->view != nullptr) {
      join(carried, replaced->view, replaced->slots);
    }
  } else if (replaced != nullptr) {
    message = {value, replaced->view, replaced->slots, writer};
  }
  if (location.messages.size() == location.messages.capacity()) {
    const Suspended no_arena;
    location.messages.reserve(2 * location.messages.size());
  }
  location.messages.push_back(message);
  put_bytes(location.address, location.bytes, value);
  if (me == mortal_) {
    if (release) not_ordered_.clear();
    if (replaced == nullptr && not_ordered_.size() < not_ordered_.capacity()) {
      not_ordered_.push_back({location.slot, timestamp});
    }
  }
  tick(me);
}

void WeakMemory::begin_losses(unsigned me) {
  mortal_ = me;
  not_ordered_.clear();
}

/// A store that is missing counts as one of what was there before.
void WeakMemory::lose_what_was_not_ordered() {
  for (const Look& store : not_ordered_) {
    Location& location = locations_[store.slot - kMaxThreads];
    if (location.restart || location.newest() != store.timestamp) continue;
    Message& lost = location.messages.back();
    if (lost.is_known || !decisions_.choose_loss()) continue;
    const Message& before = location.messages[location.messages.size() - 2];
    lost = {before.value, before.view, before.slots, before.writer};
    put_bytes(location.address, location.bytes, lost.value);
    ++progress_;
  }
}

void WeakMemory::overwritten(std::uint16_t index) { locations_[index - 1U].restart = true; }

std::uint64_t WeakMemory::load(unsigned me, Word word, Order order) {
  Location& location = at(me, word);
  return read(me, location, choose(me, location, 0), order.acquire);
}

void WeakMemory::store(unsigned me, Word word, std::uint64_t value, Order order) {
  append(me, at(me, word), value, order.release, nullptr);
}

std::uint64_t WeakMemory::update(unsigned me, Word word, Update what, std::uint64_t operand,
                                 Order order) {
  Location& location = at(me, word);
  const Message replaced = location.messages.back();
  read(me, location, location.newest(), order.acquire);
  append(me, location, applied(what, replaced.value, operand, word.bytes), order.release,
         &replaced);
  last_look_.timestamp = location.newest();
  return replaced.value;
}

bool WeakMemory::compare_exchange(unsigned me, Word word, std::uint64_t& expected,
                                  std::uint64_t desired, Order success, Order failure) {
  Location& location = at(me, word);
  std::uint16_t const timestamp = choose(me, location, 0);
  const Message& chosen = location.messages[timestamp - location.first];
  // Only the newest can be replaced; an older store that would match cannot have been read.
  if (timestamp == location.newest() || chosen.value == expected) {
    const Message replaced = location.messages.back();
    if (replaced.value == expected) {
      read(me, location, location.newest(), success.acquire);
      append(me, location, desired, success.release, &replaced);
      return true;
    }
    expected = read(me, location, location.newest(), failure.acquire);
    return false;
  }
  expected = read(me, location, timestamp, failure.acquire);
  return false;
}

void WeakMemory::full_fence(unsigned me) {
  ThreadView& view = views_[me];
  if (view.has_acquired) join(view.current, view.acquired, slots_);
  for (unsigned slot = kMaxThreads; slot < slots_; ++slot) {
    view.current[slot] = fences_[slot] = std::max(view.current[slot], fences_[slot]);
  }
  std::memcpy(view.released, view.current, slots_ * sizeof view.released[0]);
  if (me == mortal_) not_ordered_.clear();
  view.has_released = true;
  tick(me);
}

// Futexes and spinning
// ------------------------------------------------------------------------------------------

std::uint64_t WeakMemory::futex_load(unsigned me, Word word) {
  Location& location = at(me, word);
  return read(me, location, choose(me, location, location.kernel_floor), false);
}

void WeakMemory::futex_publish(unsigned me, const void* address) {
  if (Location* location = find(address)) {
    location->kernel_floor = std::max(location->kernel_floor, views_[me].current[location->slot]);
  }
}

void WeakMemory::futex_woken(unsigned me, const void* address) {
  if (Location* location = find(address)) {
    std::uint16_t& seen = views_[me].current[location->slot];
    seen = std::max(seen, location->kernel_floor);
  }
}

bool WeakMemory::refresh(unsigned me, const Look* looks, unsigned count) {
  bool any = false;
  for (unsigned i = 0; i < count; ++i) {
    const Location& location = locations_[looks[i].slot - kMaxThreads];
    std::uint16_t& seen = views_[me].current[looks[i].slot];
    any |= looks[i].timestamp < location.newest() && location.messages.back().writer != me;
    seen = std::max(seen, location.newest());
  }
  return any;
}

}  // namespace penstock::model
