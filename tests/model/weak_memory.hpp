// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "order_sites.hpp"
#include "shadow.hpp"
#include "shim_model.hpp"

namespace penstock::model {

class Decisions;

/// What a thread, or a message, knows: for each thread how far it is known to have come
/// (happens-before, the first kMaxThreads slots), and for each location the oldest store that may
/// still be read (coherence, the slots after those). Joining is a slot-wise maximum.
inline constexpr unsigned kMaxSlots = 512;
using Slots = std::uint16_t*;

/// A view-based operational model of C++20 atomics, as in the "promising semantics" but without
/// promises.
///
/// Every location has its stores in modification order. A store carries a view: the releasing
/// thread's, or that of its last release fence, or, in a read-modify-write, also that of the store
/// it replaced (release sequences). A load may read every store that is not older than what its
/// thread's view says; an acquire load joins the store's view, a relaxed one keeps it for a later
/// fence. A full fence is acquire and release and joins a global view both ways (locations only:
/// fences alone order no plain accesses).
///
/// Strength: shows store buffering, stale reads, message passing without acquire or release, IRIW,
/// broken release sequences, and (through happens-before) every data race on the explored path.
/// Limits: modification order is execution order, so 2+2W without fences is not shown; a store
/// never becomes visible before its thread comes to it, so load buffering is not shown (nor allowed
/// by RC11); no consume, no sequentially consistent accesses other than the full fence.
class WeakMemory {
 public:
  struct Message {
    std::uint64_t value;
    const std::uint16_t* view;  ///< nullptr: carries nothing.
    std::uint16_t slots;
    std::uint16_t writer;
    bool is_known = false;  ///< To others.
  };
  struct Location {
    std::uintptr_t address = 0;
    std::uint16_t slot = 0;
    std::uint16_t first = 1;         ///< Timestamp of messages[0].
    std::uint16_t kernel_floor = 0;  ///< What the futex bucket lock makes visible.
    std::uint8_t bytes = 0;
    bool restart = false;  ///< Overwritten by a plain write: the bytes are the only store.
    std::vector<Message> messages;
    [[nodiscard]] std::uint16_t newest() const {
      return static_cast<std::uint16_t>(first + messages.size() - 1);
    }
  };
  struct ThreadView {
    alignas(64) std::uint16_t current[kMaxSlots];   ///< What its loads obey.
    alignas(64) std::uint16_t acquired[kMaxSlots];  ///< Read relaxed; current after a fence.
    alignas(64) std::uint16_t released[kMaxSlots];  ///< What its relaxed stores carry, if any.
    bool has_acquired;
    bool has_released;
  };

  WeakMemory(Shadow& shadow, Arena& arena, Decisions& decisions);
  void reset();

  [[nodiscard]] ThreadView& view(unsigned thread) { return views_[thread]; }
  void start_thread(unsigned child, unsigned parent);
  void join_thread(unsigned child, unsigned parent);

  std::uint64_t load(unsigned me, Word word, Order order);
  void store(unsigned me, Word word, std::uint64_t value, Order order);
  std::uint64_t update(unsigned me, Word word, Update what, std::uint64_t operand, Order order);
  bool compare_exchange(unsigned me, Word word, std::uint64_t& expected, std::uint64_t desired,
                        Order success, Order failure);
  void full_fence(unsigned me);

  /// That thread's stores may be missing when it dies, see explorer.hpp.
  void begin_losses(unsigned me);
  void lose_what_was_not_ordered();

  /// A plain write went over the atomic that a cell of the shadow names.
  void overwritten(std::uint16_t index);

  /// The kernel's look at a futex word under the bucket lock: any store that the thread may still
  /// read, but none older than what a waker of this word knew when it took that lock.
  std::uint64_t futex_load(unsigned me, Word word);
  /// A waker takes the bucket lock of `address`.
  void futex_publish(unsigned me, const void* address);
  /// A sleeper was woken through that lock. (Of the barriers in the kernel, which no manual
  /// promises, nothing else is assumed.)
  void futex_woken(unsigned me, const void* address);

  /// What a load or read-modify-write looked at: a location's slot, and the store's timestamp.
  struct Look {
    std::uint16_t slot;
    std::uint16_t timestamp;
  };
  [[nodiscard]] Look last_look() const { return last_look_; }
  /// A spinning thread has the words that it looked at lately made visible to it. False: it had
  /// read the newest of each already, or wrote it.
  bool refresh(unsigned me, const Look* looks, unsigned count);
  /// Goes up with every store that changes a value.
  [[nodiscard]] std::uint64_t progress() const { return progress_; }
  [[nodiscard]] unsigned stale_reads() const { return stale_reads_; }

 private:
  Location& at(unsigned me, Word word);
  Location* find(const void* address);
  Location& create(Word word);
  std::uint16_t choose(unsigned me, const Location& location, std::uint16_t floor);
  std::uint64_t read(unsigned me, Location& location, std::uint16_t timestamp, bool acquire);
  void append(unsigned me, Location& location, std::uint64_t value, bool release,
              const Message* replaced);
  Slots keep(const std::uint16_t* view);
  void join(Slots into, const std::uint16_t* from, unsigned slots) const;
  void tick(unsigned me);

  Shadow& shadow_;
  Arena& arena_;
  Decisions& decisions_;
  std::vector<Location> locations_;  // Reserved once; used up to location_count_.
  unsigned location_count_ = 0;
  unsigned slots_ = kMaxThreads;  // In use, rounded up to whole vectors.
  std::array<ThreadView, kMaxThreads> views_;
  alignas(64) std::uint16_t fences_[kMaxSlots];  // What all full fences so far have seen.
  std::vector<std::uint16_t> pool_;              // Views of messages.
  std::size_t pool_used_ = 0;
  std::unordered_map<std::uintptr_t, std::uint16_t> elsewhere_;  // Locations outside the arena.
  std::vector<std::pair<Word, std::uint64_t>> originals_;        // Their values before.
  Look last_look_{};
  unsigned mortal_ = kMaxThreads;  // None.
  std::vector<Look> not_ordered_;  // The stores that a compiler may put behind the next one.
  std::uint64_t progress_ = 0;
  unsigned stale_reads_ = 0;
};

}  // namespace penstock::model
