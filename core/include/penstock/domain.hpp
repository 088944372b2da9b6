// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "penstock/far_line.hpp"
#include "penstock/ref.hpp"
#include "penstock/segment.hpp"
#include "penstock/shared.hpp"
#include "penstock/shim.hpp"

namespace penstock {

/// Processes that share channels and streams: up to kMost, each with a number and a bell, a futex
/// in a page that all of them map. Who wants to wake somebody in another process rings the bell of
/// that process, where one thread listens, and it wakes whoever may have waited long enough.
///
/// The process that creates a domain is number 0. It admits the others, and says when one is dead.
///
/// Threads: any.
/// Cost: ring() is one addition and one system call. Nothing while nobody sleeps.
///
/// Edges:
///   D1  ring() adds to the bell, release -> the thread that listens loads it, acquire: that a mark
///       was taken away (FarLine), and what its process waited for. ended() sets a bit of dead_,
///       release -> that thread loads it, acquire: what the dead process had done, as far as
///       who has proved its death knows.
///   D5  that thread gives a number back, release -> admit() takes it, acquire: what its last owner
///       left is undone.
class Domain final : public Object, public Bells {
 public:
  static constexpr unsigned kMost = FarLine::kProcesses;
  /// Where each process's bell lies in the memory, and its pid behind it.
  static constexpr std::size_t kBellStride = 128;
  static constexpr std::size_t kPidOffset = 4;

  /// A new one. Throws system_error or bad_alloc.
  [[nodiscard]] static Ref<Domain> create();
  /// That of another process, where this one is `number`. Takes over the descriptor, also on
  /// failure. `company` is let go when nothing here touches the memory any more. Throws as
  /// create().
  [[nodiscard]] static Ref<Domain> join(int descriptor, unsigned number,
                                        std::shared_ptr<const void> company = {});
  /// The thread that listens ends soon. For who is the last to use it.
  void leave() noexcept;

  /// Of the memory, to be passed on.
  [[nodiscard]] int descriptor() const noexcept { return segment_.descriptor(); }
  [[nodiscard]] unsigned number() const noexcept { return number_; }

  /// A number for another process; none: there are kMost.
  [[nodiscard]] std::optional<unsigned> admit() noexcept;
  /// It is proved that the process with that number runs no more, or that it never did: what it had
  /// begun is undone in each object, soon, and then its number is free.
  void ended(unsigned number) noexcept;
  /// Whether a process may have that number; number 0 knows.
  [[nodiscard]] bool is_member(unsigned number) const noexcept {
    return number < kMost && (numbers_.load(order::relaxed) >> number & 1) != 0;
  }

  /// Which process has that number, until what it had begun is undone; 0: none. For those who must
  /// look after each other without number 0, and for people.
  void set_pid(unsigned number, std::int32_t pid) noexcept;
  [[nodiscard]] std::int32_t pid(unsigned number) const noexcept;

  void ring(unsigned number) noexcept override;

  /// Objects whose waiters the others may call. One that goes is removed by its destructor.
  void add(Shareable& object);
  void remove(Shareable& object) noexcept;
  /// Some of those that live, up to `most`; returns how many there are. Throws bad_alloc.
  [[nodiscard]] std::size_t list(std::vector<Ref<Shareable>>& some, std::size_t most);

 private:
  struct Bells;
  Domain(Segment segment, unsigned number) noexcept;
  ~Domain() override;
  void start();
  void listen() noexcept;
  [[nodiscard]] bool serve() noexcept;
  [[nodiscard]] bool recover(std::uint64_t dead) noexcept;
  void ring_all() noexcept;
  [[nodiscard]] bool collect() noexcept;

  std::shared_ptr<const void> company_;  // Goes after the memory.
  const Segment segment_;
  Bells& bells_;
  const unsigned number_;
  Atomic<std::uint64_t> numbers_;  // In use, as far as we know.
  Atomic<std::uint64_t> dead_{0};  // Of these.
  Atomic<std::uint32_t> is_left_{0};

  std::mutex mutex_;  // Guards what follows.
  std::vector<Shareable*> objects_;

  std::vector<Ref<Shareable>> at_hand_;  // The listening thread's.
};

}  // namespace penstock
