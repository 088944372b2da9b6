// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace penstock::model {

/// Bounds of a search. What a bound cuts off is not explored; within them it is exhaustive.
struct Limits {
  unsigned preemptions = 3;  ///< Switches away from a thread that could have gone on.
  unsigned stale_reads = 3;  ///< Loads that read something else than the newest store.
  bool prunes = true;        ///< Leaves out equivalent orders (sleep sets, see Scheduler).
};

/// The decisions that make one execution: which thread goes on, which store a load reads. Either a
/// depth-first search, which repeats the execution so far and then takes the next way, or a random
/// walk.
class Decisions {
 public:
  void start_search(const Limits& limits);
  void start_random(const Limits& limits, std::uint64_t seed);
  /// Back to the beginning of the same execution, to see it again.
  void repeat();

  /// Begins the next execution. False: all have been seen (a random walk never ends).
  [[nodiscard]] bool next();

  /// 0 to count - 1; 0 is the way without a switch.
  [[nodiscard]] unsigned choose_thread(unsigned count) { return choose(count, 4); }
  /// 0 to count - 1; 0 is the newest store.
  [[nodiscard]] unsigned choose_store(unsigned count) { return choose(count, 2); }

  /// Whether a process dies here, or whether one that has died had not come to a store; rarely.
  [[nodiscard]] bool choose_death() { return choose(2, 24) != 0; }
  [[nodiscard]] bool choose_loss() { return choose(2, 2) != 0; }

  [[nodiscard]] const Limits& limits() const { return limits_; }
  [[nodiscard]] bool is_random() const { return random_; }

 private:
  struct Choice {
    std::uint16_t taken;
    std::uint16_t count;
  };
  /// A random walk takes another way than 0 once in `rarity` times.
  [[nodiscard]] unsigned choose(unsigned count, unsigned rarity);
  [[nodiscard]] std::uint64_t random();

  Limits limits_;
  bool random_ = false;
  bool started_ = false;
  std::uint64_t state_ = 0;
  std::uint64_t first_state_ = 0;
  std::size_t position_ = 0;
  std::vector<Choice> path_;  // Reserved once.
};

}  // namespace penstock::model
