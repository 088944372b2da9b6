// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <signal.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "eventually.hpp"
#include "sweep.hpp"
#include "victim.hpp"
#include "victim_process.hpp"

namespace penstock::kill {

/// Of one victim: from its start to its death.
class Life {
 public:
  Life(Way way, const Target& target) : way_(way), target_(target) {}

  [[nodiscard]] Report& report() { return *report_; }
  /// Whether it got as far as its access.
  [[nodiscard]] bool has_met() const { return has_met_; }
  /// Whether it did not live to the end of its script.
  [[nodiscard]] bool is_cut_short() const { return has_met_ && way_ != Way::stops_and_continues; }

  /// `more`: what its script wants to know beside its target.
  void start(const char* script, std::initializer_list<std::uint64_t> more, int first, int second) {
    std::vector<std::string> words =
        target_words(target_, way_ == Way::dies ? Fate::dies : Fate::stops);
    words.insert(words.begin(), script);
    for (std::uint64_t const each : more) words.push_back(std::to_string(each));
    process_ = std::make_unique<VictimProcess>(words, first, second, report_.descriptor());
  }
  void kill() {
    if (killed_ns_ == 0) killed_ns_ = now_ns();
    process_->send_signal(SIGKILL);
  }
  /// When that was first done.
  [[nodiscard]] std::int64_t killed_ns() const { return killed_ns_; }

  /// Does `drive` again and again as long as it runs; if it stops, `others` once, and then it
  /// continues or dies.
  template <class Drive, class Others>
  void live(Drive drive, Others others) {
    ASSERT_TRUE(while_it_runs(drive)) << "it hangs";
    if (process_->state() == VictimProcess::State::stopped) {
      has_met_ = true;
      others();
      if (way_ == Way::stops_and_continues) {
        process_->go_on();
      } else {
        kill();
      }
      ASSERT_TRUE(while_it_runs(drive)) << "it does not go on";
    }
    const int status = process_->status();
    if (way_ == Way::dies && status == -SIGKILL) has_met_ = true;
    ASSERT_EQ(status, is_cut_short() ? -SIGKILL : 0);
  }
  void end() { process_.reset(); }

 private:
  template <class Drive>
  [[nodiscard]] bool while_it_runs(Drive drive) {
    return eventually([&] {
      if (process_->state() != VictimProcess::State::runs) return true;
      drive();
      return false;
    });
  }

  const Way way_;
  const Target target_;
  ReportPage report_;
  std::unique_ptr<VictimProcess> process_;
  bool has_met_ = false;
  std::int64_t killed_ns_ = 0;
};

}  // namespace penstock::kill
