// SPDX-License-Identifier: Apache-2.0
// The VM's end of a Link, and a worker that is the victim.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "hook.hpp"
#include "life.hpp"
#include "link_victim.hpp"
#include "penstock/link.hpp"
#include "sweep.hpp"
#include "victim.hpp"

namespace penstock::kill {
namespace {

class LinkCase {
 public:
  LinkCase(const char* script, Way way, const Target& target) : life_(way, target) {
    count_accesses_of_threads();
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    Segment segment = Segment::create_shared(Link::bytes());
    // The memory is formatted before the worker sees it.
    const int memory = dup(segment.descriptor());
    vm_ = Link::create(std::move(segment), ends[0], Link::Side::vm);
    life_.start(script, {0, 0}, memory, ends[1]);
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

  [[nodiscard]] Report& report() { return life_.report(); }
  [[nodiscard]] bool has_met() const { return life_.has_met(); }

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
    life_.live(drive, [] {});
    if (testing::Test::HasFatalFailure()) return;
    ASSERT_TRUE(eventually([&] { return is_at_end_.load(); })) << "the VM does not see its end";
    receiver_.join();
    EXPECT_EQ(end_, Status::closed);
    EXPECT_EQ(report().failures.load(), 0U);
  }
  /// What the victim sent came as it was sent, up to some frame; what had left it, at any rate.
  void expect_frames_of_victim() {
    for (std::size_t i = 0; i < got_.size(); ++i) ASSERT_EQ(got_[i], number_of(kVictim, i));
    EXPECT_GE(got_.size(), report().sent.load());
    EXPECT_LE(got_.size(), report().begun.load());
  }
  /// What the VM sent came to the victim like that, while it lived.
  void expect_frames_of_vm(std::uint64_t sent) {
    std::uint64_t const received = report().received.load();
    for (std::uint64_t i = 0; i < received; ++i) ASSERT_EQ(report().numbers[i], number_of(0, i));
    EXPECT_TRUE(life_.is_cut_short() ? received <= sent : received == sent) << received;
  }

 private:
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

  Life life_;
  Ref<Link> vm_;
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
