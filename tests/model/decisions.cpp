// SPDX-License-Identifier: Apache-2.0
#include "decisions.hpp"

#include "engine.hpp"

namespace penstock::model {

namespace {

constexpr std::size_t kLongestPath = 16384;

}  // namespace

void Decisions::start_search(const Limits& limits) {
  limits_ = limits;
  random_ = started_ = false;
  path_.clear();
  path_.reserve(kLongestPath);
}

void Decisions::start_random(const Limits& limits, std::uint64_t seed) {
  limits_ = limits;
  random_ = true;
  state_ = first_state_ = seed * 2 + 1;
}

void Decisions::repeat() {
  position_ = 0;
  state_ = first_state_;
}

bool Decisions::next() {
  position_ = 0;
  if (random_) {
    first_state_ = state_;
    return true;
  }
  if (!started_) {
    started_ = true;
    return true;
  }
  while (!path_.empty() && path_.back().taken + 1U == path_.back().count) path_.pop_back();
  if (path_.empty()) return false;
  ++path_.back().taken;
  return true;
}

std::uint64_t Decisions::random() {  // splitmix64
  std::uint64_t z = (state_ += 0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

unsigned Decisions::choose(unsigned count, unsigned rarity) {
  if (count == 1) return 0;
  if (random_) {
    std::uint64_t const value = random();
    if (value % rarity != 0) return 0;
    return static_cast<unsigned>((value >> 32) % count);
  }
  if (position_ < path_.size()) {
    const Choice& choice = path_[position_++];
    if (choice.count != count) fail("the scenario is not deterministic: a replay went another way");
    return choice.taken;
  }
  if (path_.size() == kLongestPath) fail("an execution too long for the explorer's path");
  path_.push_back({0, static_cast<std::uint16_t>(count)});
  ++position_;
  return 0;
}

}  // namespace penstock::model
