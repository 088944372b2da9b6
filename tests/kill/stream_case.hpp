// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <thread>

#include "life.hpp"
#include "penstock/byte_stream.hpp"
#include "penstock/domain.hpp"
#include "stream_victim.hpp"

namespace penstock::kill {

/// A stream of three processes: number 0, which writes and is to recover, and number 1, both here,
/// with a mapping each, and number 2, the victim, which reads.
class StreamCase {
 public:
  StreamCase(const char* script, Way way, const Target& target);
  ~StreamCase();
  StreamCase(const StreamCase&) = delete;
  StreamCase& operator=(const StreamCase&) = delete;

  [[nodiscard]] Report& report() { return life_.report(); }
  [[nodiscard]] bool has_met() const { return life_.has_met(); }

  /// Somebody in number 1 might read when the victim does no more.
  void add_heir();
  /// Writes without waiting, and sees to it that this takes no longer than it may.
  void try_write(std::size_t size);
  /// A thread that writes as much, in pieces, and waits for room, until it is told not to.
  void start_writer(std::uint64_t pieces, std::size_t size);
  [[nodiscard]] bool is_writing() const { return is_writing_.load(); }
  [[nodiscard]] bool is_writer_asleep() const {
    return writer().space_waiters().waiting_near() != 0;
  }
  [[nodiscard]] bool is_reader_asleep() const { return writer().data_waiters().waiting() != 0; }
  [[nodiscard]] std::uint64_t written() const { return written_.load(); }

  /// Starts the victim, and does `drive` again and again as long as it runs. If it stops, the
  /// writer works on, and then it continues or dies. In the end all that it had begun is undone.
  template <class Drive>
  void live(Drive drive) {
    start_victim();
    life_.live(drive, [&] { work_without_it(); });
    if (testing::Test::HasFatalFailure()) return;
    bury();
  }

  /// Whoever writes goes on or is told; number 1 reads on where the victim stopped, unless that one
  /// took bytes along.
  void expect_rest();

 private:
  [[nodiscard]] ByteStream& writer() const { return *on_[0]; }
  [[nodiscard]] ByteStream& heir() const { return *on_[1]; }
  void start_victim();
  void work_without_it();
  void bury();
  void write_all(std::uint64_t pieces, std::size_t size);
  [[nodiscard]] Status write_waiting(std::size_t size);
  void expect_end_of_writer();
  void expect_loss();
  void expect_bytes(std::uint64_t from);

  const StreamScript& script_;
  Life life_;
  Ref<Domain> domains_[2];
  Ref<ByteStream> on_[2];
  bool has_heir_ = false;
  std::thread thread_;  // Which writes.
  std::atomic<bool> is_writing_{false};
  std::atomic<std::uint64_t> written_{0};
};

}  // namespace penstock::kill
