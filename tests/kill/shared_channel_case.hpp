// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "life.hpp"
#include "penstock/channel.hpp"
#include "penstock/domain.hpp"
#include "victim.hpp"

namespace penstock::kill {

/// A channel of three processes: number 0, which is to recover, and number 1, both here, with a
/// mapping each, and number 2, the victim.
class SharedChannelCase {
 public:
  SharedChannelCase(const char* script, Way way, const Target& target);
  ~SharedChannelCase();
  SharedChannelCase(const SharedChannelCase&) = delete;
  SharedChannelCase& operator=(const SharedChannelCase&) = delete;

  [[nodiscard]] Report& report() { return life_.report(); }
  [[nodiscard]] Channel& on(unsigned process) const { return *on_[process]; }

  /// Sends or receives without waiting, and sees to it that this takes no longer than it may.
  void try_send(unsigned process, std::size_t size);
  void try_receive(unsigned process);
  /// Messages of number 0's, until there is no room.
  void fill(std::size_t size);
  /// Threads of number 1: receive until the channel is at its end; or send so many messages.
  void start_receivers(unsigned count);
  void start_sender(std::uint64_t count, std::size_t size);
  [[nodiscard]] unsigned receivers_asleep() const { return on(1).data_waiters().waiting_near(); }
  [[nodiscard]] bool is_sending() const { return is_sending_.load(); }
  [[nodiscard]] std::uint64_t sent(unsigned process) const { return sent_[process].load(); }

  /// Starts the victim, and does `drive` again and again as long as it runs. If it stops, the
  /// others work on, and then it continues or dies. In the end all that it had begun is undone.
  template <class Drive>
  void live(Drive drive) {
    start_victim();
    life_.live(drive, [&] { work_without_it(); });
    if (testing::Test::HasFatalFailure()) return;
    bury();
  }
  void kill_victim() { life_.kill(); }
  /// When that was, and when what the victim had begun was undone.
  [[nodiscard]] std::int64_t killed_ns() const { return life_.killed_ns(); }
  [[nodiscard]] std::int64_t undone_ns() const { return undone_ns_; }
  /// Whether the victim got as far as its access.
  [[nodiscard]] bool has_met() const { return life_.has_met(); }

  /// Nothing stays in the channel, and what is sent now comes as well.
  void expect_flow();
  /// All who receive are told that the end has come.
  void expect_end();
  /// Each message came once, those of a sender in order; none that was certainly sent is missing,
  /// but for one that the victim was taking when it died.
  void expect_each_once();

 private:
  void start_victim();
  void work_without_it();
  void bury();
  void receive_all();
  void send_all(std::uint64_t count, std::size_t size);
  void got(const Message& message);
  void close_and_join();
  [[nodiscard]] std::vector<std::uint64_t> all_that_came();
  void expect_order();

  const Script& script_;
  Life life_;
  Ref<Domain> domains_[2];
  Ref<Channel> on_[2];
  std::int64_t undone_ns_ = 0;
  std::vector<std::thread> threads_;
  unsigned receivers_ = 0;
  std::atomic<unsigned> at_end_{0};  // Of these.
  std::atomic<bool> is_sending_{false};
  std::atomic<std::uint64_t> sent_[2] = {};
  std::mutex mutex_;
  std::vector<std::uint64_t> got_;  // Guarded by mutex_.
};

}  // namespace penstock::kill
