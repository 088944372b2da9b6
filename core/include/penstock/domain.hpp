// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "penstock/ref.hpp"
#include "penstock/segment.hpp"
#include "penstock/shim.hpp"
#include "penstock/waiter.hpp"

namespace penstock {

class Channel;

/// Processes that share channels: up to kMost, each with a number and a bell, a futex in a page
/// that all of them map. Who wants to wake somebody in another process rings the bell of that
/// process, where one thread listens, and it wakes whoever may have waited long enough.
///
/// The process that creates a domain is number 0. It admits the others, and says when one is dead.
///
/// Threads: any.
/// Cost: ring() is one addition and one system call. Nothing while nobody sleeps.
///
/// Edges:
///   D1  ring() adds to the bell, release -> the thread that listens loads it, acquire: the mark of
///       who sleeps (D3) that was taken away, and what that one waited for.
class Domain final : public Object {
 public:
  static constexpr unsigned kMost = 64;

  /// A new one. Throws system_error or bad_alloc.
  [[nodiscard]] static Ref<Domain> create();
  /// That of another process, where this one is `number`. Takes over the descriptor, also on
  /// failure. Throws as create().
  [[nodiscard]] static Ref<Domain> join(int descriptor, unsigned number);
  /// The thread that listens ends soon. For who is the last to use it.
  void leave() noexcept;

  /// Of the memory, to be passed on.
  [[nodiscard]] int descriptor() const noexcept { return segment_.descriptor(); }
  [[nodiscard]] unsigned number() const noexcept { return number_; }
  [[nodiscard]] std::uint64_t mark() const noexcept { return std::uint64_t{1} << number_; }

  /// A number for another process; none: there are kMost.
  [[nodiscard]] std::optional<unsigned> admit() noexcept;
  /// It is proved that the process with that number runs no more, or that it never did: what it had
  /// begun is undone in each channel, soon, and then its number is free.
  void ended(unsigned number) noexcept;

  void ring(unsigned number) noexcept;

  /// Channels whose waiters the others may call. One that goes is removed by its destructor.
  void add(Channel& channel);
  void remove(Channel& channel) noexcept;

 private:
  struct Bells;
  Domain(Segment segment, unsigned number) noexcept;
  ~Domain() override;
  void start();
  void listen() noexcept;
  [[nodiscard]] bool serve() noexcept;
  [[nodiscard]] bool recover(std::uint64_t dead) noexcept;
  void collect() noexcept;

  const Segment segment_;
  Bells& bells_;
  const unsigned number_;
  Atomic<std::uint64_t> numbers_{1};  // In use. Number 0's.
  Atomic<std::uint64_t> dead_{0};     // Of these.
  Atomic<std::uint32_t> is_left_{0};

  std::mutex mutex_;  // Guards what follows.
  std::vector<Channel*> channels_;

  std::vector<Ref<Channel>> at_hand_;  // The listening thread's.
};

/// One line of waiters that crosses the processes of a domain: a word in shared memory with the
/// mark of each process where somebody waits.
///
/// Threads: any.
///
/// Edges:
///   D3  (store-load) announce() sets the mark, fence (W1), and then the waiter looks at its
///       condition; a notifier makes it true, fence (W1), and then looks at the marks. Whoever
///       takes a mark away rings; and there the mark is set again before the condition is looked
///       at, if somebody still waits, or else the call is passed on.
class FarLine final : public FarWaiters {
 public:
  FarLine(Domain& domain, Atomic<std::uint64_t>& marks) noexcept : domain_(domain), marks_(marks) {}

  void announce() noexcept override;
  [[nodiscard]] std::uint32_t waiting() const noexcept override;
  void wake_one() noexcept override;
  void wake_all() noexcept override;

  void answer(WaitList& near) noexcept override;
  /// The process with that number waits no more.
  void forget(unsigned process) noexcept;

 private:
  Domain& domain_;
  Atomic<std::uint64_t>& marks_;
  Atomic<std::uint32_t> is_marked_{0};    // Our mark was set, and nobody has answered since.
  Atomic<std::uint32_t> last_called_{0};  // They take turns.
};

}  // namespace penstock
