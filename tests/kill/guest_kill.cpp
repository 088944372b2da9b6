// SPDX-License-Identifier: Apache-2.0
// Channels without a VM: a guest that is the victim, and a creator that is.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "hook.hpp"
#include "life.hpp"
#include "penstock/sharing.hpp"
#include "sweep.hpp"

namespace penstock::kill {
namespace {

/// `Case(script, way, target).run()`: what happens around one victim.
template <class Case>
void sweep(const char* script, std::initializer_list<Way> ways = kAllWays) {
  Sweep(script).over(ways, [&](Way way, const Target& target, auto tell) {
    Case of(script, way, target);
    of.run();
    tell(of.life().report(), of.life().has_met());
  });
}

struct Belongings {
  std::ptrdiff_t descriptors = entries_of("/proc/self/fd");
  std::ptrdiff_t threads = entries_of("/proc/self/task");

  static std::ptrdiff_t entries_of(const char* folder) {
    const std::filesystem::directory_iterator entries(folder);
    return std::distance(begin(entries), end(entries));
  }
};

/// Around an address that nobody else has.
class Meeting {
 public:
  Meeting(const char* script, Way way, const Target& target) : script_(script), life_(way, target) {
    count_accesses_of_threads();
    static std::uint64_t meetings = 0;
    number_ = static_cast<std::uint64_t>(getpid()) << 32 | ++meetings;
  }
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;
  [[nodiscard]] Life& life() { return life_; }

 protected:
  ~Meeting() = default;

  [[nodiscard]] Report& report() { return life_.report(); }
  [[nodiscard]] std::uint64_t number() const { return number_; }
  [[nodiscard]] std::string address() const { return guest_address(script_, number_); }
  void start_victim() {
    life_.start(script_, {kVictim, number_}, STDERR_FILENO, STDERR_FILENO);  // It needs neither.
  }
  [[nodiscard]] Ref<Channel> create() const {
    return sharing::create(address(), 1024, Channel::Content::bytes);
  }
  [[nodiscard]] Ref<Channel> connect(std::int64_t patience_ns) const {
    return sharing::connect(address(), {now_ns() + patience_ns});
  }
  /// Again, when there is more that stays.
  void count_belongings() { before_ = {}; }
  /// Whatever was opened and started for this channel is gone.
  void expect_nothing_left() {
    life_.end();
    EXPECT_TRUE(eventually([&] {
      const Belongings now;
      return now.descriptors <= before_.descriptors && now.threads <= before_.threads;
    })) << Belongings().descriptors
        << " descriptors, " << before_.descriptors << " before; " << Belongings().threads
        << " threads, " << before_.threads << " before";
    EXPECT_FALSE(std::filesystem::exists(address()));
  }

 private:
  const char* const script_;
  Life life_;  // Its page is there before.
  Belongings before_;
  std::uint64_t number_ = 0;
};

bool try_send(Channel& channel, std::uint64_t number) {
  Message message;
  EXPECT_TRUE(write(message, number, 100));
  return channel.try_send(message) == Status::ok;
}

std::optional<std::uint64_t> try_receive(Channel& channel) {
  Message message;
  if (channel.try_receive(message) != Status::ok) return {};
  return read(message);
}

// A guest
// ------------------------------------------------------------------------------------------------

/// It connects, sends two messages, receives two of ours, and goes.
class GuestCase final : public Meeting {
 public:
  using Meeting::Meeting;

  void run() {
    created_ = create();
    start_victim();
    report().go = 2;
    life().live([&] { take_then_send(); }, [&] { work_without_it(); });
    if (!testing::Test::HasFatalFailure()) expect_others_go_on();
    expect_each_once();
    created_ = {};
    expect_nothing_left();
  }

 private:
  void take_then_send() {
    if (got_.size() < 2 && sent_ == 0) {
      if (const auto number = try_receive(*created_)) got_.push_back(*number);
      if (got_.size() == 2) report().go = 3;  // It does not receive its own.
    } else if (sent_ < 2 && try_send(*created_, number_of(1, sent_))) {
      ++sent_;
    }
  }
  /// Nobody waits for one that stopped, wherever that is.
  void work_without_it() {
    const Ref<Channel> other = connect(kPatience_ns);
    EXPECT_FALSE(other->is_closed());
  }
  /// What is left is received, and a new guest is let in, who sends and receives.
  void expect_others_go_on() {
    const Ref<Channel> next = connect(kPatience_ns);
    next->add_sender();
    EXPECT_TRUE(eventually([&] { return try_send(*next, number_of(3, 0)); }));
    EXPECT_TRUE(eventually([&] {
      const auto number = try_receive(*created_);
      if (number) got_.push_back(*number);
      return number == number_of(3, 0);
    })) << "somebody takes messages who is dead";
    EXPECT_TRUE(try_send(*created_, number_of(3, 1)));
    EXPECT_TRUE(eventually([&] { return try_receive(*next) == number_of(3, 1); }));
    next->remove_sender();
  }
  void expect_each_once() {
    std::vector<std::uint64_t> all = got_;
    std::uint64_t const received = report().received.load();
    for (std::uint64_t i = 0; i < received; ++i) all.push_back(report().numbers[i]);
    std::ranges::sort(all);
    EXPECT_TRUE(std::ranges::adjacent_find(all) == all.end()) << "twice";
    unsigned missing = 0;
    for (std::uint64_t sender : {std::uint64_t{1}, kVictim}) {
      std::uint64_t const certain = sender == 1 ? sent_ : report().sent.load();
      for (std::uint64_t i = 0; i < certain; ++i) {
        missing += std::ranges::binary_search(all, number_of(sender, i)) ? 0U : 1U;
      }
    }
    EXPECT_LE(missing, life().is_cut_short() ? 1U : 0U) << "lost";
    EXPECT_LE(all.size(), report().begun.load() + sent_ + 1) << "what nobody sent";
    EXPECT_EQ(report().failures.load(), 0U);
  }

  Ref<Channel> created_;
  std::uint64_t sent_ = 0;
  std::vector<std::uint64_t> got_;
};

TEST(KillSharing, AGuest) { sweep<GuestCase>("guest_joins"); }

// The creator
// ------------------------------------------------------------------------------------------------

/// We are a guest, of whom a thread receives until the end.
class ByGuest : public Meeting {
 protected:
  using Meeting::Meeting;
  ~ByGuest() = default;

  /// Tries to; not for long, since the creator may have stopped.
  void enter() {
    try {
      constexpr std::int64_t kLittle_ns = 5'000'000;
      guest_ = connect(kLittle_ns);
    } catch (const std::system_error& error) {
      const int code = error.code().value();
      EXPECT_TRUE(code == ENOENT || code == ECONNREFUSED || code == ECONNRESET || code == ETIMEDOUT)
          << error.what();
      return;
    }
    receiver_ = std::thread([this] { receive_all(); });
  }
  [[nodiscard]] bool is_in() const { return static_cast<bool>(guest_); }
  [[nodiscard]] bool is_asleep() const { return guest_->data_waiters().waiting_near() == 1; }
  [[nodiscard]] bool is_at_end() const { return is_at_end_.load(); }
  /// At the end; the creator, if it lives, waits for us to go.
  void leave() {
    if (receiver_.joinable()) receiver_.join();
    EXPECT_TRUE(!guest_ || !try_send(*guest_, number_of(1, 0)));
    guest_ = {};
  }
  /// The end came, and before it all that the victim had sent, in order.
  void expect_end() {
    EXPECT_TRUE(eventually([&] { return is_at_end(); })) << "somebody sleeps at the end";
    for (std::size_t i = 0; i < got_.size(); ++i) EXPECT_EQ(got_[i], number_of(kVictim, i));
    EXPECT_GE(got_.size(), report().sent.load()) << "lost";
    EXPECT_LE(got_.size(), report().begun.load());
  }

 private:
  void receive_all() {
    ThreadWaiter me;
    ThreadWaiter::Wake woken{};
    Status status = Status::ok;
    for (;;) {
      Message message;
      status = guest_->receive(message, now_ns() + 3 * kPatience_ns, me, &woken);
      if (status != Status::ok) break;
      got_.push_back(read(message));
    }
    EXPECT_EQ(status, Status::closed);
    is_at_end_ = true;
  }

  Ref<Channel> guest_;
  std::thread receiver_;
  std::vector<std::uint64_t> got_;  // The receiver's, until it is at its end.
  std::atomic<bool> is_at_end_{false};
};

/// It lets us in, sends three messages, each while we sleep, and lets go of its channel.
class CreatorCase final : public ByGuest {
 public:
  using ByGuest::ByGuest;

  void run() {
    start_victim();
    bool was_in = false;
    life().live(
        [&] {
          was_in = was_in || is_in();
          is_at_end() ? leave() : enter_then_let_it_send();
        },
        [] {});
    EXPECT_EQ(report().failures.load(), 0U);
    EXPECT_TRUE(was_in || is_in() || life().is_cut_short()) << "nobody got in";
    if (was_in || is_in()) expect_end();
    leave();
    // The address is free at once, whatever was left there.
    Ref<Channel> next = create();
    EXPECT_FALSE(next->is_closed());
    next = {};
    expect_nothing_left();
  }

 private:
  void enter_then_let_it_send() {
    if (!is_in()) return enter();
    if (is_asleep() && report().go == report().sent) ++report().go;
  }
};

TEST(KillSharing, TheCreator) { sweep<CreatorCase>("guest_gathers"); }

/// Which a dead one leaves behind.
TEST(KillSharing, TheCreatorAtAPath) { sweep<CreatorCase>("guest_gathers_at_path", {Way::dies}); }

// Those that are left
// ------------------------------------------------------------------------------------------------

/// The creator dies with room claimed for a message, and guests look after each other: we, and the
/// victim, which has sent a message.
class SurvivorCase final : public ByGuest {
 public:
  SurvivorCase(const char* script, Way way, const Target& target)
      : ByGuest(script, way, target), creator_(Way::dies, {0, {"mpsc.claim.after"}, 1}) {
    count_belongings();
  }

  void run() {
    creator_.start("guest_gathers", {kVictim, number()}, STDERR_FILENO, STDERR_FILENO);
    ASSERT_TRUE(eventually([&] {
      enter();
      return is_in();
    }));
    start_victim();
    report().go = 1;
    life().live(
        [&] {
          if (report().sent == 1) end_creator();
          if (is_at_end()) report().go = 2;
        },
        [] {});
    end_creator();
    expect_end();
    EXPECT_EQ(report().failures.load(), 0U);
    leave();
    creator_.live([] {}, [] {});
    creator_.end();
    expect_nothing_left();
  }

 private:
  /// It begins to send.
  void end_creator() { creator_.report().go = 1; }

  Life creator_;
};

TEST(KillSharing, WhoIsLeft) { sweep<SurvivorCase>("guest_survives"); }

}  // namespace
}  // namespace penstock::kill
