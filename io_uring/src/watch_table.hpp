// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "penstock/io_uring/reactor.hpp"

namespace penstock::io_uring {

/// What is wanted of one descriptor.
struct Watch {
  void* owner = nullptr;         ///< nullptr: nothing, it is not watched.
  std::uint32_t generation = 0;  ///< Of the last watch(): tells late events from new ones.
  Interest interest = 0;
  Trigger trigger = Trigger::level;
  bool armed = false;          ///< io_uring: the kernel has a request for it.
  bool as_edge = false;        ///< io_uring: a level of which only unwanted events come now.
  bool listed = false;         ///< io_uring: is in the list of those to be armed.
  Interest late = 0;           ///< io_uring: what was found while something was forgotten.
  std::uint64_t batch = 0;     ///< The last batch with an event of it,
  std::uint32_t position = 0;  ///< and where the event is in it.
};

/// What is wanted of all descriptors, and the events that are reported at once.
///
/// Threads: the loop's. Cost: each call is O(1) but grow(), which is amortized O(1).
class WatchTable {
 public:
  /// As many events are reported at once, at most.
  static constexpr std::size_t kBatch = 256;

  /// What the kernel keeps with a request and gives back with its events.
  [[nodiscard]] static std::uint64_t tag(int fd, const Watch& watch) noexcept {
    return std::uint64_t{watch.generation} << 32 | static_cast<std::uint32_t>(fd);
  }
  /// No descriptor has it.
  static constexpr std::uint64_t kAlarmTag = ~std::uint64_t{0};

  /// The place of a descriptor, 0 or higher; nullptr: no memory.
  [[nodiscard]] Watch* place(int fd) noexcept;
  /// nullptr: not watched.
  [[nodiscard]] Watch* find(int fd) noexcept {
    return has(fd) && at(fd).owner != nullptr ? &at(fd) : nullptr;
  }
  /// The watch that a tag was made of; nullptr: it was replaced or ended.
  [[nodiscard]] Watch* find_tagged(std::uint64_t tag) noexcept {
    const int fd = fd_of(tag);
    if (!has(fd)) return nullptr;
    Watch& watch = at(fd);
    return watch.owner != nullptr && watch.generation == tag >> 32 ? &watch : nullptr;
  }
  [[nodiscard]] static int fd_of(std::uint64_t tag) noexcept {
    return static_cast<int>(static_cast<std::uint32_t>(tag));
  }

  /// Higher than any descriptor that was watched.
  [[nodiscard]] std::size_t size() const noexcept { return watches_.size(); }
  [[nodiscard]] bool is_beyond(int fd) const noexcept { return !has(fd); }

  /// In place of what was wanted of it: a new generation.
  void replace(Watch& watch, Interest interest, Trigger trigger, void* owner) noexcept;
  void remove(Watch& watch) noexcept;

  /// Calls each(fd, watch) for all that are watched.
  template <class Each>
  void for_each(Each each) noexcept {
    for (std::size_t fd = 0; fd < watches_.size(); ++fd) {
      if (watches_[fd].owner != nullptr) each(static_cast<int>(fd), watches_[fd]);
    }
  }

  void begin_batch() noexcept {
    ++batch_;
    events_ = 0;
  }
  [[nodiscard]] bool full() const noexcept { return events_ == kBatch; }
  [[nodiscard]] std::span<const Event> batch() const noexcept { return {batch_events_, events_}; }
  /// `what` is not 0. Not to be called when full().
  void report(Watch& watch, Interest what) noexcept;

 private:
  [[nodiscard]] bool has(int fd) const noexcept {
    return fd >= 0 && static_cast<std::size_t>(fd) < watches_.size();
  }
  [[nodiscard]] Watch& at(int fd) noexcept { return watches_[static_cast<std::size_t>(fd)]; }
  /// Its event in the batch that was handed out; nullptr: none.
  [[nodiscard]] Event* event_of(const Watch& watch) noexcept {
    return watch.batch == batch_ && events_ > watch.position ? &batch_events_[watch.position]
                                                             : nullptr;
  }

  std::vector<Watch> watches_;  ///< By descriptor.
  std::uint64_t batch_ = 1;     ///< Its number; no watch begins with it.
  std::size_t events_ = 0;
  Event batch_events_[kBatch];
};

/// What to ask of poll(2). The bits of epoll have the same values.
[[nodiscard]] std::uint32_t poll_events_of(Interest interest) noexcept;
/// What it answers, as far as it is wanted; 0: nothing.
[[nodiscard]] Interest wanted_of(std::uint32_t poll_events, Interest interest) noexcept;

}  // namespace penstock::io_uring
