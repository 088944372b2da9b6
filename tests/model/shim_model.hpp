// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The explorer's side of penstock/shim.hpp: the same names and signatures, bound to the model of
/// weak memory (weak_memory.hpp), the race detector (shadow.hpp) and the scheduler (scheduler.hpp)
/// instead of the machine. Included by penstock/shim.hpp when PENSTOCK_MODEL is defined.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "order_sites.hpp"

namespace penstock {

namespace model {

enum class Update : std::uint8_t { exchange, add, subtract, bit_or, bit_and, bit_xor };

/// Bytes of one word; what an Atomic's operations come down to.
struct Word {
  const void* address;
  unsigned bytes;
};

void initialise(Word word) noexcept;
[[nodiscard]] std::uint64_t load(Word word, Order order) noexcept;
void store(Word word, std::uint64_t value, Order order) noexcept;
/// The value before.
std::uint64_t update(Word word, Update what, std::uint64_t operand, Order order) noexcept;
/// True: swapped. False: `expected` is what was read instead.
bool compare_exchange(Word word, std::uint64_t& expected, std::uint64_t desired, Order success,
                      Order failure) noexcept;
void fence(const OrderSite& site) noexcept;

void plain_read(const void* from, std::size_t bytes) noexcept;
void plain_write(const void* to, std::size_t bytes) noexcept;

bool wait_on(Word word, std::uint32_t expected, std::int64_t deadline_ns) noexcept;
void wake_on(const void* address, int count) noexcept;
void pause() noexcept;
[[nodiscard]] std::int64_t clock_ns() noexcept;

}  // namespace model

namespace order {

inline constexpr model::Order relaxed{};

inline model::Order acquire(const char* edge,
                            std::source_location where = std::source_location::current()) {
  const auto& site = model::OrderSites::instance().at(edge, model::kAcquire, where);
  return {(site.weakened & model::kAcquire) == 0, false, &site};
}
inline model::Order release(const char* edge,
                            std::source_location where = std::source_location::current()) {
  const auto& site = model::OrderSites::instance().at(edge, model::kRelease, where);
  return {false, (site.weakened & model::kRelease) == 0, &site};
}
inline model::Order acq_rel(const char* edge,
                            std::source_location where = std::source_location::current()) {
  const auto& site =
      model::OrderSites::instance().at(edge, model::kAcquire | model::kRelease, where);
  return {(site.weakened & model::kAcquire) == 0, (site.weakened & model::kRelease) == 0, &site};
}

}  // namespace order

/// As std::atomic, for words of four or eight bytes. The object holds the newest value; older ones,
/// which a thread may still read, are kept by the explorer under the object's address.
template <class T>
class alignas(sizeof(T)) Atomic {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));

 public:
  constexpr Atomic() noexcept : Atomic(T{}) {}
  constexpr Atomic(T value) noexcept : value_(value) {  // NOLINT: as std::atomic.
    if (!std::is_constant_evaluated()) model::initialise(word());
  }
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  [[nodiscard]] T load(model::Order order) const noexcept {
    return from_bits(model::load(word(), order));
  }
  void store(T value, model::Order order) noexcept { model::store(word(), to_bits(value), order); }
  T exchange(T value, model::Order order) noexcept {
    return updated(model::Update::exchange, value, order);
  }
  T fetch_add(T value, model::Order order) noexcept {
    return updated(model::Update::add, value, order);
  }
  T fetch_sub(T value, model::Order order) noexcept {
    return updated(model::Update::subtract, value, order);
  }
  T fetch_or(T value, model::Order order) noexcept {
    return updated(model::Update::bit_or, value, order);
  }
  T fetch_and(T value, model::Order order) noexcept {
    return updated(model::Update::bit_and, value, order);
  }
  T fetch_xor(T value, model::Order order) noexcept {
    return updated(model::Update::bit_xor, value, order);
  }
  bool compare_exchange_strong(T& expected, T desired, model::Order success,
                               model::Order failure) noexcept {
    std::uint64_t bits = to_bits(expected);
    const bool swapped = model::compare_exchange(word(), bits, to_bits(desired), success, failure);
    if (!swapped) expected = from_bits(bits);
    return swapped;
  }
  /// Never fails spuriously here: that only repeats a loop.
  bool compare_exchange_weak(T& expected, T desired, model::Order success,
                             model::Order failure) noexcept {
    return compare_exchange_strong(expected, desired, success, failure);
  }

 private:
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  static std::uint64_t to_bits(T value) noexcept { return std::bit_cast<Bits>(value); }
  static T from_bits(std::uint64_t bits) noexcept {
    return std::bit_cast<T>(static_cast<Bits>(bits));
  }
  [[nodiscard]] model::Word word() const noexcept { return {&value_, sizeof(T)}; }
  T updated(model::Update what, T operand, model::Order order) noexcept {
    return from_bits(model::update(word(), what, to_bits(operand), order));
  }

  T value_;
};

inline void full_fence(Atomic<std::uint32_t>& /*word*/, const char* edge,
                       std::source_location where = std::source_location::current()) noexcept {
  model::fence(model::OrderSites::instance().at(edge, model::kFence, where));
}

inline std::uint32_t exchange_and_fence(
    Atomic<std::uint32_t>& word, std::uint32_t value, model::Order order, const char* edge,
    std::source_location where = std::source_location::current()) noexcept {
  std::uint32_t const before = word.exchange(value, order);
  full_fence(word, edge, where);
  return before;
}

inline void copy_in(void* shared, const void* from, std::size_t bytes) noexcept {
  model::plain_read(from, bytes);
  model::plain_write(shared, bytes);
  std::memcpy(shared, from, bytes);
}
inline void copy_out(void* to, const void* shared, std::size_t bytes) noexcept {
  model::plain_read(shared, bytes);
  model::plain_write(to, bytes);
  std::memcpy(to, shared, bytes);
}
/// An atomic inside the range starts a new history: who uses it next must be ordered after this.
inline void zero(void* shared, std::size_t bytes) noexcept {
  model::plain_write(shared, bytes);
  std::memset(shared, 0, bytes);
}

enum class Reach : std::uint8_t { process, machine };

inline constexpr std::int64_t kNoDeadline = INT64_MAX;

/// Stands still, except that it jumps to a sleeper's deadline when the scheduler lets it time out.
[[nodiscard]] inline std::int64_t now_ns() noexcept { return model::clock_ns(); }

inline bool futex_wait(Atomic<std::uint32_t>& word, std::uint32_t expected,
                       std::int64_t deadline_ns, Reach /*reach*/ = Reach::process) noexcept {
  return model::wait_on({&word, sizeof expected}, expected, deadline_ns);
}
inline void futex_wake(Atomic<std::uint32_t>* word, int count,
                       Reach /*reach*/ = Reach::process) noexcept {
  model::wake_on(word, count);
}

/// Signals, and so events, are not modelled: no thread of a scenario sleeps on one.
[[noreturn]] inline bool event_wait(int /*event*/, int /*signals*/,
                                    std::int64_t /*deadline_ns*/) noexcept {
  std::abort();
}
[[noreturn]] inline void event_raise(int /*event*/) noexcept { std::abort(); }

inline void spin_pause(unsigned /*turn*/) noexcept { model::pause(); }
/// Who holds something may be asleep after any number of looks, and so after the first.
inline constexpr unsigned kPatience = 1;
[[nodiscard]] constexpr std::uint32_t spin_limit_ns() noexcept { return 0; }

/// Every access to shared memory is a scheduling point already, so a preemption here is a
/// preemption there.
constexpr void fail_point(const char* /*name*/) noexcept {}

}  // namespace penstock
