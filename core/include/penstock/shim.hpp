// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The one seam between Penstock's lock-free code and the machine: atomics, memory orders, the full
/// fence, futex calls, copies into shared payload, spinning and fail points. Everything in core/
/// goes through it, so that the same sources run under the interleaving explorer of tests/model
/// (compiled with PENSTOCK_MODEL), under crash and delay injection (PENSTOCK_FAIL_POINTS), and with
/// a hook before each access (PENSTOCK_WATCHED), where tests/kill ends the process and tests/fuzz
/// writes what another one might have written.
///
/// Every acquire, release and fence names the happens-before edge it is a side of. The names are
/// the rows of docs/memory-model.md; a test keeps the two equal, and the explorer weakens each of
/// them in turn and expects to see a failure.

#ifdef PENSTOCK_MODEL
#include "shim_model.hpp"  // tests/model
#else

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef PENSTOCK_WATCHED
#include "shim_watched.hpp"  // tests/watched
#endif

namespace penstock {

#ifndef PENSTOCK_WATCHED
template <class T>
using Atomic = std::atomic<T>;
#endif

namespace order {
inline constexpr std::memory_order relaxed = std::memory_order_relaxed;
consteval std::memory_order acquire(const char* /*edge*/) { return std::memory_order_acquire; }
consteval std::memory_order release(const char* /*edge*/) { return std::memory_order_release; }
consteval std::memory_order acq_rel(const char* /*edge*/) { return std::memory_order_acq_rel; }
}  // namespace order

/// Full (store-load) fence of the sleep protocols. `word` is the waiter word the fence guards: a
/// ThreadSanitizer build, which does not model stand-alone fences, turns the fence into a
/// sequentially consistent read-modify-write of that word.
inline void full_fence([[maybe_unused]] Atomic<std::uint32_t>& word,
                       const char* /*edge*/) noexcept {
#if defined(__SANITIZE_THREAD__)
  word.fetch_add(0, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

/// An exchange with a full fence behind it, which on x86-64 are one instruction.
inline std::uint32_t exchange_and_fence(Atomic<std::uint32_t>& word, std::uint32_t value,
                                        std::memory_order order, const char* edge) noexcept {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  (void)edge;
  std::uint32_t const before = word.exchange(value, order);
  std::atomic_signal_fence(std::memory_order_seq_cst);  // For the compiler.
  return before;
#else
  std::uint32_t const before = word.exchange(value, order);
  full_fence(word, edge);
  return before;
#endif
}

#ifndef PENSTOCK_WATCHED
/// Payload copies; the explorer checks them for data races. Nothing may come from, or go, nowhere:
/// memcpy itself does not allow a null pointer with zero bytes.
inline void copy_in(void* shared, const void* from, std::size_t bytes) noexcept {
  if (bytes != 0) std::memcpy(shared, from, bytes);
}
/// In pieces, as long as both sides stay in the caches. Of more than 2 KiB (8 with AVX-512) glibc
/// makes one instruction, `rep movsb`. For lines that the other processor has just written that is
/// the slower way to read, though the faster one to write: 16 KiB through a ring, both copies at
/// the same time, 1.6 us, and 1.2 with pieces here; with pieces in copy_in, too, 1.9.
inline void copy_out(void* to, const void* shared, std::size_t bytes) noexcept {
  constexpr std::size_t kPiece = 2048, kMost = std::size_t{128} * 1024;
  if (bytes > kPiece && bytes <= kMost) {
    std::size_t piece = kPiece;
    asm("" : "+r"(piece));  // Of a size that it knows the compiler makes that instruction itself.
    for (; bytes > piece; bytes -= piece) {
      std::memcpy(to, shared, piece);
      to = static_cast<char*>(to) + piece;
      shared = static_cast<const char*>(shared) + piece;
    }
  }
  if (bytes != 0) std::memcpy(to, shared, bytes);
}
#endif
inline void zero(void* shared, std::size_t bytes) noexcept { std::memset(shared, 0, bytes); }

/// Whether a futex word may be waited on by other processes.
enum class Reach : std::uint8_t { process, machine };

inline constexpr std::int64_t kNoDeadline = INT64_MAX;

/// Nanoseconds of CLOCK_MONOTONIC.
[[nodiscard]] std::int64_t now_ns() noexcept;

/// Sleeps while `word` holds `expected`, until woken, interrupted by a signal, or `deadline_ns` of
/// CLOCK_MONOTONIC. Returns for any reason, also spuriously: look again. False after a signal.
bool futex_wait(Atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t deadline_ns,
                Reach reach = Reach::process) noexcept;
/// Wakes up to `count` sleepers of `word`. Only the address is used, so the word may be gone.
void futex_wake(Atomic<std::uint32_t>* word, int count, Reach reach = Reach::process) noexcept;

/// Sleeps until `event`, an eventfd, is raised, `deadline_ns` passes, a signal interrupts it, or
/// `signals` is readable; false after the last two. Takes the event back.
bool event_wait(int event, int signals, std::int64_t deadline_ns) noexcept;
void event_raise(int event) noexcept;

/// One turn of a spin loop; yields the processor to other threads from `turn` 64 on.
void spin_pause(unsigned turn) noexcept;

/// Looks at what somebody else holds for a few instructions before he is taken for asleep.
inline constexpr unsigned kPatience = 500;

/// How long a consumer may spin before it parks, if that pays: 0 when the process may use only one
/// CPU.
[[nodiscard]] std::uint32_t spin_limit_ns() noexcept;

#ifdef PENSTOCK_WATCHED
// Its fail points are accesses, too.
#elif defined(PENSTOCK_FAIL_POINTS)
/// Called at every fail point of a test build; may delay, or end the process.
using FailPointHook = void (*)(const char* name) noexcept;
extern std::atomic<FailPointHook> fail_point_hook;
inline void fail_point(const char* name) noexcept {
  if (FailPointHook hook = fail_point_hook.load(std::memory_order_acquire)) hook(name);
}
#else
constexpr void fail_point(const char* /*name*/) noexcept {}
#endif

}  // namespace penstock

#endif  // PENSTOCK_MODEL
