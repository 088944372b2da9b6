// SPDX-License-Identifier: Apache-2.0
#include "shim_model.hpp"

#include <cstdarg>
#include <cstdio>

#include "engine.hpp"

/// What the shim does while a scenario runs; without one, what a single thread would see.
namespace penstock::model {

namespace {

/// One line of the trace of a failing execution.
[[gnu::format(printf, 2, 3)]] void note(const OrderSite* site, const char* format, ...) {
  Engine& engine = *active;
  const Suspended no_arena;
  char text[160];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  engine.trace += "  T" + std::to_string(engine.scheduler.me()) + "  " + text;
  if (site != nullptr) engine.trace += "   [" + site->text() + "]";
  engine.trace += '\n';
}

std::size_t place(const void* address) {
  std::uintptr_t const at = reinterpret_cast<std::uintptr_t>(address);
  return active->arena.contains(at) ? at - active->arena.base() : at;
}

std::uint64_t bytes_at(Word word) {
  std::uint64_t value = 0;
  std::memcpy(&value, word.address, word.bytes);
  return value;
}

void put_bytes(Word word, std::uint64_t value) {
  std::memcpy(const_cast<void*>(word.address), &value, word.bytes);
}

using ull = unsigned long long;

}  // namespace

void initialise(Word word) noexcept { plain_write(word.address, word.bytes); }

std::uint64_t load(Word word, Order order) noexcept {
  if (active == nullptr) return bytes_at(word);
  Engine& engine = *active;
  engine.scheduler.before(Step::load, word.address);
  std::uint64_t const value = engine.memory.load(engine.scheduler.me(), word, order);
  engine.scheduler.looked_at(engine.memory.last_look());
  if (engine.tracing) {
    const bool stale = value != bytes_at(word);
    note(order.site, "load  +0x%zx = 0x%llx%s%s", place(word.address), ull{value},
         order.acquire ? " acquire" : "", stale ? " (stale)" : "");
  }
  return value;
}

void store(Word word, std::uint64_t value, Order order) noexcept {
  if (active == nullptr) return put_bytes(word, value);
  Engine& engine = *active;
  engine.scheduler.before(Step::store, word.address);
  engine.memory.store(engine.scheduler.me(), word, value, order);
  if (engine.tracing) {
    note(order.site, "store +0x%zx = 0x%llx%s", place(word.address), ull{value},
         order.release ? " release" : "");
  }
}

std::uint64_t update(Word word, Update what, std::uint64_t operand, Order order) noexcept {
  if (active == nullptr) {
    // Only exchange and counts are used outside of executions: by objects that tests keep.
    std::uint64_t const old = bytes_at(word);
    put_bytes(word, what == Update::exchange   ? operand
                    : what == Update::add      ? old + operand
                    : what == Update::subtract ? old - operand
                    : what == Update::bit_or   ? old | operand
                    : what == Update::bit_and  ? old & operand
                                               : old ^ operand);
    return old;
  }
  Engine& engine = *active;
  engine.scheduler.before(Step::store, word.address);
  std::uint64_t const old = engine.memory.update(engine.scheduler.me(), word, what, operand, order);
  engine.scheduler.looked_at(engine.memory.last_look());
  if (engine.tracing) {
    note(order.site, "rmw   +0x%zx 0x%llx -> 0x%llx%s%s", place(word.address), ull{old},
         ull{bytes_at(word)}, order.acquire ? " acquire" : "", order.release ? " release" : "");
  }
  return old;
}

bool compare_exchange(Word word, std::uint64_t& expected, std::uint64_t desired, Order success,
                      Order failure) noexcept {
  if (active == nullptr) {
    std::uint64_t const old = bytes_at(word);
    if (old == expected) put_bytes(word, desired);
    return std::exchange(expected, old) == old;
  }
  Engine& engine = *active;
  engine.scheduler.before(Step::store, word.address);
  const bool swapped = engine.memory.compare_exchange(engine.scheduler.me(), word, expected,
                                                      desired, success, failure);
  engine.scheduler.looked_at(engine.memory.last_look());
  if (engine.tracing) {
    const Order& order = swapped ? success : failure;
    note(success.site, "cas   +0x%zx %s 0x%llx%s%s", place(word.address),
         swapped ? "to" : "failed, read", ull{swapped ? desired : expected},
         order.acquire ? " acquire" : "", order.release ? " release" : "");
  }
  return swapped;
}

void fence(const OrderSite& site) noexcept {
  if (active == nullptr || (site.weakened & kFence) != 0) return;
  Engine& engine = *active;
  engine.scheduler.before(Step::fence, nullptr);
  engine.memory.full_fence(engine.scheduler.me());
  if (engine.tracing) note(&site, "fence");
}

void plain_read(const void* from, std::size_t bytes) noexcept {
  if (active == nullptr || !active->arena.contains(from)) return;
  Engine& engine = *active;
  const unsigned me = engine.scheduler.me();
  unsigned other = 0;
  const char* problem = engine.shadow.check<Access::read>(
      reinterpret_cast<std::uintptr_t>(from), bytes, me, engine.memory.view(me).current, &other);
  if (problem != nullptr) fail_race("a plain read", problem, from, other);
}

void plain_write(const void* to, std::size_t bytes) noexcept {
  if (active == nullptr || !active->arena.contains(to)) return;
  Engine& engine = *active;
  const unsigned me = engine.scheduler.me();
  const auto address = reinterpret_cast<std::uintptr_t>(to);
  unsigned other = 0;
  const char* problem = engine.shadow.check<Access::write>(address, bytes, me,
                                                           engine.memory.view(me).current, &other);
  if (problem != nullptr) fail_race("a plain write", problem, to, other);
  for (std::uintptr_t at = address & ~std::uintptr_t{3}; at < address + bytes; at += 4) {
    if (std::uint16_t const index = engine.shadow.cell(at).location) {
      engine.memory.overwritten(index);
    }
  }
}

bool wait_on(Word word, std::uint32_t expected, std::int64_t deadline_ns) noexcept {
  if (active == nullptr) return true;
  Engine& engine = *active;
  engine.scheduler.before(Step::futex_wait, word.address);
  const unsigned me = engine.scheduler.me();
  std::uint64_t const value = engine.memory.futex_load(me, word);
  if (engine.tracing) {
    note(nullptr, "futex_wait +0x%zx %s", place(word.address),
         value == expected ? "sleeps" : "does not sleep");
  }
  if (value == expected) engine.scheduler.sleep(word.address, deadline_ns);
  return true;
}

void wake_on(const void* address, int count) noexcept {
  if (active == nullptr) return;
  Engine& engine = *active;
  engine.scheduler.before(Step::futex_wake, address);
  engine.memory.futex_publish(engine.scheduler.me(), address);
  const unsigned woken = engine.scheduler.wake(address, count);
  for (unsigned thread = 0; thread < kMaxThreads; ++thread) {
    if ((woken >> thread & 1) != 0) engine.memory.futex_woken(thread, address);
  }
  if (engine.tracing) {
    note(nullptr, "futex_wake +0x%zx wakes %d", place(address), __builtin_popcount(woken));
  }
}

void pause() noexcept {
  if (active == nullptr) fail("a spin loop outside of an execution never ends");
  if (active->tracing) note(nullptr, "pause");
  active->scheduler.pause();
}

std::int64_t clock_ns() noexcept { return active == nullptr ? 0 : active->scheduler.clock_ns(); }

}  // namespace penstock::model
