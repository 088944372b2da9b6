// SPDX-License-Identifier: Apache-2.0
// Processes that are killed at random times: between any two instructions, and inside the kernel,
// while all are busy. What they run has no hook that would make it slow.
//
// PENSTOCK_KILLS and PENSTOCK_SEED: how many, and when.
#include <gtest/gtest.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "shared_channel_case.hpp"

namespace penstock::kill {
namespace {

std::uint64_t number_in(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// Milliseconds.
class Times {
 public:
  void add(std::int64_t from_ns, std::int64_t to_ns) {
    all_.push_back(static_cast<double>(to_ns - from_ns) / 1e6);
  }
  void print(const char* what) {
    if (all_.empty()) return;
    std::ranges::sort(all_);
    std::printf("  %s after %.2f ms (median), %.2f ms (p99), %.2f ms (longest)\n", what,
                all_[all_.size() / 2], all_[all_.size() * 99 / 100], all_.back());
  }

 private:
  std::vector<double> all_;
};

/// Up to 2 ms after the victim has done something.
void kill_at_some_moment(SharedChannelCase& of, std::size_t size, std::mt19937_64& random) {
  Report& report = of.report();
  report.go = ~std::uint64_t{0};
  std::int64_t until = kNoDeadline;
  of.live([&] {
    of.try_send(0, size);
    of.try_send(1, size);
    if (until == kNoDeadline && report.sent + report.received > 0) {
      until = now_ns() + static_cast<std::int64_t>(random() % 2'000'000);
    }
    if (now_ns() >= until) of.kill_victim();
  });
}

TEST(KillAtRandom, WhoUsesASharedChannel) {
  struct Kind {
    const char* script;
    std::size_t size;  // Of what the others send.
  };
  constexpr Kind kKinds[] = {{"send_for_ever", 50},
                             {"receive_for_ever", 300},
                             {"work_for_ever", 50},
                             {"work_large_for_ever", 20'000}};
  std::uint64_t const kills = number_in("PENSTOCK_KILLS", 1000);
  std::uint64_t const seed = number_in("PENSTOCK_SEED", std::random_device()());
  std::printf("%" PRIu64 " kills, seed %" PRIu64 "\n", kills, seed);
  std::mt19937_64 random(seed);
  Times undone, next;
  for (std::uint64_t round = 0; round < kills && !HasFailure(); ++round) {
    const Kind& kind = kKinds[round % std::size(kKinds)];
    SCOPED_TRACE(kind.script);
    SharedChannelCase of(kind.script, Way::dies, {});
    of.start_receivers(1);
    kill_at_some_moment(of, kind.size, random);
    of.expect_flow();
    next.add(of.killed_ns(), now_ns());
    undone.add(of.killed_ns(), of.undone_ns());
    of.expect_each_once();
  }
  undone.print("what they had begun was undone");
  next.print("the next messages came");
}

}  // namespace
}  // namespace penstock::kill
