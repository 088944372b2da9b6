// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "report.hpp"

namespace penstock::kill {

/// What becomes of a victim before one of its accesses.
enum class Way : std::uint8_t {
  dies,                 ///< By SIGKILL.
  stops_and_continues,  ///< By SIGSTOP and, when the others have worked, SIGCONT.
  stops_and_dies,       ///< The same, but SIGKILL in the end.
};

inline constexpr std::initializer_list<Way> kAllWays = {Way::dies, Way::stops_and_continues,
                                                        Way::stops_and_dies};

/// Which places of the code any victim came to, and which victims met their fate at, over all
/// scripts.
class Coverage {
 public:
  [[nodiscard]] static Coverage& of_all() {
    static Coverage coverage;
    return coverage;
  }
  /// `is_complete`: it did all that was to be done. One that was stopped may come where it would
  /// never have come.
  void came_to(const std::string& place, Way way, bool is_complete) {
    of(way).seen[place] += is_complete ? 1 : 0;
  }
  void count_complete(Way way) { ++of(way).complete; }
  void met(const std::string& place, Way way) {
    ++of(way).victims;
    of(way).met.insert(place);
  }
  [[nodiscard]] bool is_met(const std::string& place, Way way) {
    return of(way).met.contains(place);
  }

  /// No place may be left out but one that hardly any victim comes to, by its timing.
  void conclude() {
    for (const Way way : kAllWays) {
      const One& one = of(way);
      if (one.victims == 0) continue;
      std::printf("%s at %zu of %zu places, %lu victims\n", name_of(way), one.met.size(),
                  one.seen.size(), static_cast<unsigned long>(one.victims));
      for (const auto& [place, often] : one.seen) {
        if (one.met.contains(place)) continue;
        std::printf("  not %s, where %lu of %lu came\n", place.c_str(),
                    static_cast<unsigned long>(often), static_cast<unsigned long>(one.complete));
        EXPECT_LT(often * 20, one.complete) << "no victim " << name_of(way) << " before " << place;
      }
    }
  }
  [[nodiscard]] static const char* name_of(Way way) {
    constexpr const char* kNames[] = {"dies", "stops and continues", "stops and dies"};
    return kNames[static_cast<unsigned>(way)];
  }

 private:
  struct One {
    std::uint64_t complete = 0;
    std::map<std::string, std::uint64_t> seen;  // Places, and how many of those came there.
    std::set<std::string> met;
    std::uint64_t victims = 0;
  };
  One& of(Way way) { return ways_[static_cast<unsigned>(way)]; }
  One ways_[3];
};

/// Has victims meet their fate before each of their accesses: the first, the second, and so on
/// until one gets through; then at each place in the code that any of them came to, if that was not
/// so three times: which access is at which place depends on who else works when.
class Sweep {
 public:
  explicit Sweep(std::string script) : script_(std::move(script)) {}

  /// `run(way, target, tell)`: what happens around one victim; calls tell(its report, whether it
  /// got as far as its target).
  template <class Run>
  void over(std::initializer_list<Way> ways, Run run) {
    for (const Way way : ways) {
      std::uint64_t access = 0;
      do {
        ASSERT_LT(++access, kMost) << script_;
      } while (has_met(run, way, {access, {}, 0}));
      EXPECT_GE(access - 1, kLeast) << script_ << " " << name_of(way);
      if (testing::Test::HasFailure()) return;
    }
    for (const Way way : ways) over_places(run, way);
  }

 private:
  /// What there is at any rate, and at most, in one script.
  static constexpr std::uint64_t kLeast = 20, kMost = 3000;
  static constexpr std::uint64_t kHits = 3;
  /// Of victims for a place that none has met its fate at; of others, for hits that there may not
  /// be.
  static constexpr int kTries = 100, kMoreTries = 2;

  static const char* name_of(Way way) { return Coverage::name_of(way); }

  /// False also after a failure.
  template <class Run>
  [[nodiscard]] bool has_met(Run run, Way way, const Target& target) {
    SCOPED_TRACE(script_ + " " + name_of(way) + " before access " + std::to_string(target.access) +
                 " " + target.place.text + " hit " + std::to_string(target.hit));
    bool has_met = false;
    run(way, target, [&](const Report& report, bool met) {
      has_met = met;
      take(report, met, way);
    });
    return has_met && !testing::Test::HasFailure();
  }

  template <class Run>
  void over_places(Run run, Way way) {
    for (std::size_t done = 0; done != seen_.size();) {
      const std::set<std::string> places = seen_;  // More may be found.
      done = places.size();
      for (const std::string& text : places) {
        for (std::uint64_t hit = 1; hit <= kHits; ++hit) {
          if (met_[way][text] >= hit || is_tried_[way].contains({text, hit})) continue;
          is_tried_[way].insert({text, hit});
          Target target{0, {}, hit};
          (void)std::snprintf(target.place.text, sizeof target.place.text, "%s", text.c_str());
          int tries = hit == 1 && !Coverage::of_all().is_met(text, way) ? kTries : kMoreTries;
          while (tries-- != 0 && !has_met(run, way, target) && !testing::Test::HasFailure()) {
          }
          if (testing::Test::HasFailure()) return;
        }
      }
    }
  }

  void take(const Report& report, bool met, Way way) {
    Coverage& coverage = Coverage::of_all();
    if (!met) coverage.count_complete(way);
    for (std::uint32_t i = 0; i < report.places_count; ++i) {
      seen_.insert(report.places[i].text);
      coverage.came_to(report.places[i].text, way, !met);
    }
    if (met) coverage.met(report.fate.text, way);
    if (met) ++met_[way][report.fate.text];
    if (met && testing::Test::HasFailure()) {
      std::printf("%s %s before %s\n", script_.c_str(), name_of(way), report.fate.text);
    }
  }

  std::string script_;
  std::set<std::string> seen_;
  std::map<Way, std::map<std::string, std::uint64_t>> met_;
  std::map<Way, std::set<std::pair<std::string, std::uint64_t>>> is_tried_;
};

}  // namespace penstock::kill
