// SPDX-License-Identifier: Apache-2.0
// The VM's end of a Link, and a worker that is the victim.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "eventually.hpp"
#include "hook.hpp"
#include "link_victim.hpp"
#include "penstock/link.hpp"
#include "sweep.hpp"
#include "victim.hpp"
#include "victim_process.hpp"

namespace penstock::kill {
namespace {

class LinkCase {
 public:
  LinkCase(const char* script, Way way, const Target& target) : way_(way) {
    count_accesses_of_threads();
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    Segment segment = Segment::create_shared(Link::bytes());
    std::vector<std::string> words =
        target_words(target, way == Way::dies ? Fate::dies : Fate::stops);
    words.insert(words.begin(), script);
    words.insert(words.end(), {"0", "0"});
    // The memory is formatted before the worker sees it.
    const int memory = dup(segment.descriptor());
    vm_ = Link::create(std::move(segment), ends[0], Link::Side::vm);
    victim_ = std::make_unique<VictimProcess>(words, memory, ends[1], report_.descriptor());
    close(memory);
    close(ends[1]);
    receiver_ = std::thread([this] { receive_all(); });
  }
  ~LinkCase() {
    if (!receiver_.joinable()) return;
    vm_->hang_up();
    receiver_.join();
  }
  LinkCase(const LinkCase&) = delete;
  LinkCase& operator=(const LinkCase&) = delete;

  [[nodiscard]] Report& report() { return *report_; }
  [[nodiscard]] bool has_met() const { return has_met_; }

  /// Never waits, whatever the other end does.
  void send(std::uint64_t index, std::size_t size) {
    Message frame;
    ASSERT_TRUE(write(frame, number_of(0, index), size));
    const Status status = vm_->send(frame);
    ASSERT_TRUE(status == Status::ok || status == Status::closed);
  }
  /// Until the victim is dead, and the VM knows.
  template <class Drive>
  void live(Drive drive) {
    ASSERT_TRUE(while_it_runs(drive)) << "it hangs";
    if (victim_->state() == VictimProcess::State::stopped) {
      has_met_ = true;
      if (way_ == Way::stops_and_continues) {
        victim_->go_on();
      } else {
        victim_->send_signal(SIGKILL);
      }
      ASSERT_TRUE(while_it_runs(drive)) << "it does not go on";
    }
    const int status = victim_->status();
    if (way_ == Way::dies && status == -SIGKILL) has_met_ = true;
    ASSERT_EQ(status, has_met_ && way_ != Way::stops_and_continues ? -SIGKILL : 0);
    ASSERT_TRUE(eventually([&] { return is_at_end_.load(); })) << "the VM does not see its end";
    receiver_.join();
    EXPECT_EQ(end_, Status::closed);
    EXPECT_EQ(report_->failures.load(), 0U);
  }
  /// What the victim sent came as it was sent, up to some frame; what had left it, at any rate.
  void expect_frames_of_victim() {
    for (std::size_t i = 0; i < got_.size(); ++i) ASSERT_EQ(got_[i], number_of(kVictim, i));
    EXPECT_GE(got_.size(), report_->sent.load());
    EXPECT_LE(got_.size(), report_->begun.load());
  }
  /// What the VM sent came to the victim like that, while it lived.
  void expect_frames_of_vm(std::uint64_t sent) {
    std::uint64_t const received = report_->received.load();
    for (std::uint64_t i = 0; i < received; ++i) ASSERT_EQ(report_->numbers[i], number_of(0, i));
    const bool is_dead = has_met_ && way_ != Way::stops_and_continues;
    EXPECT_TRUE(is_dead ? received <= sent : received == sent) << received;
  }

 private:
  template <class Drive>
  [[nodiscard]] bool while_it_runs(Drive drive) {
    return eventually([&] {
      if (victim_->state() != VictimProcess::State::runs) return true;
      drive();
      return false;
    });
  }
  void receive_all() {
    Message frame;  // May hold a part of one.
    for (;;) {
      end_ = vm_->receive(frame, kNoDeadline);
      if (end_ == Status::empty) continue;
      if (end_ != Status::ok) break;
      got_.push_back(read(frame));
      frame.clear();
    }
    is_at_end_ = true;
  }

  const Way way_;
  ReportPage report_;
  Ref<Link> vm_;
  std::unique_ptr<VictimProcess> victim_;
  bool has_met_ = false;
  std::thread receiver_;
  std::vector<std::uint64_t> got_;  // The receiver's, until it is joined; so is end_.
  Status end_ = Status::ok;
  std::atomic<bool> is_at_end_{false};
};

/// Nobody recovers a link: whether it was stopped before it died makes no difference.
template <class Body>
void sweep(const char* script, Body body) {
  Sweep(script).over({Way::dies, Way::stops_and_continues},
                     [&](Way way, const Target& target, auto tell) {
                       LinkCase of(script, way, target);
                       body(of);
                       tell(of.report(), of.has_met());
                     });
}

TEST(KillLink, AWorkerThatSends) {
  sweep("link_send", [](LinkCase& of) {
    of.live([] {});
    of.expect_frames_of_victim();
  });
}

void send_each_when_the_last_was_taken(LinkCase& of, std::uint64_t& sent) {
  if (sent == kLinkFrames || of.report().received != sent) return;
  of.send(sent, link_frame_size(sent));
  ++sent;
}

TEST(KillLink, AWorkerThatReceives) {
  sweep("link_receive", [](LinkCase& of) {
    std::uint64_t sent = 0;
    of.live([&] { send_each_when_the_last_was_taken(of, sent); });
    of.expect_frames_of_vm(sent);
  });
}

TEST(KillLink, AWorkerThatLooks) {
  sweep("link_look", [](LinkCase& of) {
    std::uint64_t sent = 0;
    of.live([&] { send_each_when_the_last_was_taken(of, sent); });
    of.expect_frames_of_vm(sent);
  });
}

/// To one that may never read it; it does not wait.
TEST(KillLink, AWorkerThatIsSentMoreThanTheRingHolds) {
  sweep("link_receive", [](LinkCase& of) {
    for (std::uint64_t index = 0; index < kLinkFrames; ++index) {
      of.send(index, link_frame_size(index));
    }
    of.live([] {});
    of.expect_frames_of_vm(kLinkFrames);
  });
}

}  // namespace
}  // namespace penstock::kill
