// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What penstock/shim.hpp takes its atomics and copies from when PENSTOCK_WATCHED is defined: the
/// same words and instructions, and before each of them a call of a hook. tests/kill ends or stops
/// the process there; tests/fuzz writes there what another process might have written.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace penstock {

namespace watched {

enum class What : std::uint8_t { load, store, update, copy_in, copy_out, point };

struct Access {
  What what;
  const volatile void* address;  ///< nullptr for a point.
  std::size_t bytes;
  const char* name;  ///< Of the file, or of the fail point.
  unsigned line;     ///< 0 for a point.
};
using Hook = void (*)(const Access& access) noexcept;
inline std::atomic<Hook> hook{nullptr};

/// As std::source_location, which clang 14 does not have.
struct Where {
  const char* file;
  unsigned line;
  static constexpr Where current(const char* file = __builtin_FILE(),
                                 unsigned line = __builtin_LINE()) noexcept {
    return {file, line};
  }
};

inline void at(const Access& access) noexcept {
  if (const Hook call = hook.load(std::memory_order_relaxed)) call(access);
}

}  // namespace watched

/// As std::atomic, as far as Penstock uses it.
template <class T>
class Atomic {
 public:
  constexpr Atomic() noexcept : Atomic(T{}) {}
  constexpr Atomic(T value) noexcept : word_(value) {}  // NOLINT: as std::atomic.
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  using Order = std::memory_order;
  using Where = watched::Where;
  [[nodiscard]] T load(Order order, Where where = Where::current()) const noexcept {
    before(watched::What::load, where);
    return word_.load(order);
  }
  void store(T value, Order order, Where where = Where::current()) noexcept {
    before(watched::What::store, where);
    word_.store(value, order);
  }
  T exchange(T value, Order order, Where where = Where::current()) noexcept {
    before(watched::What::update, where);
    return word_.exchange(value, order);
  }
  T fetch_add(T value, Order order, Where where = Where::current()) noexcept {
    before(watched::What::update, where);
    return word_.fetch_add(value, order);
  }
  T fetch_sub(T value, Order order, Where where = Where::current()) noexcept {
    before(watched::What::update, where);
    return word_.fetch_sub(value, order);
  }
  T fetch_or(T value, Order order, Where where = Where::current()) noexcept {
    before(watched::What::update, where);
    return word_.fetch_or(value, order);
  }
  T fetch_and(T value, Order order, Where where = Where::current()) noexcept {
    before(watched::What::update, where);
    return word_.fetch_and(value, order);
  }
  T fetch_xor(T value, Order order, Where where = Where::current()) noexcept {
    before(watched::What::update, where);
    return word_.fetch_xor(value, order);
  }
  bool compare_exchange_strong(T& expected, T desired, Order success, Order failure,
                               Where where = Where::current()) noexcept {
    before(watched::What::update, where);
    return word_.compare_exchange_strong(expected, desired, success, failure);
  }
  bool compare_exchange_weak(T& expected, T desired, Order success, Order failure,
                             Where where = Where::current()) noexcept {
    before(watched::What::update, where);
    return word_.compare_exchange_weak(expected, desired, success, failure);
  }

 private:
  void before(watched::What what, Where where) const noexcept {
    watched::at({what, &word_, sizeof word_, where.file, where.line});
  }
  std::atomic<T> word_;
};

/// In two parts, between which the process may end, or somebody else write.
inline void copy_in(void* shared, const void* from, std::size_t bytes,
                    watched::Where where = watched::Where::current()) noexcept {
  std::size_t const half = bytes / 2;
  auto* const to = static_cast<std::uint8_t*>(shared);
  watched::at({watched::What::copy_in, to, half, where.file, where.line});
  if (half != 0) std::memcpy(to, from, half);
  watched::at({watched::What::copy_in, to + half, bytes - half, where.file, where.line});
  if (bytes != 0) {
    std::memcpy(to + half, static_cast<const std::uint8_t*>(from) + half, bytes - half);
  }
}
inline void copy_out(void* to, const void* shared, std::size_t bytes,
                     watched::Where where = watched::Where::current()) noexcept {
  std::size_t const half = bytes / 2;
  const auto* const from = static_cast<const std::uint8_t*>(shared);
  watched::at({watched::What::copy_out, from, half, where.file, where.line});
  if (half != 0) std::memcpy(to, from, half);
  watched::at({watched::What::copy_out, from + half, bytes - half, where.file, where.line});
  if (bytes != 0) {
    std::memcpy(static_cast<std::uint8_t*>(to) + half, from + half, bytes - half);
  }
}

inline void fail_point(const char* name) noexcept {
  watched::at({watched::What::point, nullptr, 0, name, 0});
}

}  // namespace penstock
