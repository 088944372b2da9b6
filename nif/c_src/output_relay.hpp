// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

#include "penstock/channel.hpp"
#include "penstock/one_at_a_time.hpp"
#include "penstock/waiter.hpp"
#include "process_context.hpp"

namespace penstock::nif {

/// Brings what Python code in a worker process prints and logs to py_output, through the channel
/// that contexts in the VM use as well, and waits for room there in line with their threads.
///
///   worker ── output, sync ──► waiting_ ──► channel ──► py_output
///   worker ◄─ output_taken ───────┘                         │
///   worker ◄─ inbox 0 ◄── answers_ ◄────────────────────────┘
///
/// What waits here is bounded: a worker that sends more than kOutputWindow allows is corrupt. What
/// it sent before it ended is brought there all the same.
///
/// Threads: any, but for take() and settle().
class OutputRelay final : public Waiter, public Object {
 public:
  /// `answers`: what py_output puts there goes to the worker.
  OutputRelay(Ref<ProcessContext> context, Ref<Channel> answers) noexcept
      : context_(std::move(context)), answers_(std::move(answers)) {}

  /// A frame of kind output or sync: ok, corrupt or out_of_memory. One at a time. Throws bad_alloc.
  [[nodiscard]] Status take(const FrameHead& head, std::span<const std::uint8_t> rest);
  /// Blocks until py_output has handled what was taken, or until the deadline. Like take().
  void settle(std::int64_t deadline_ns) noexcept;

 private:
  struct Item {
    Message message;
    std::uint64_t cost = 0;
  };
  class Porter;

  ~OutputRelay() override = default;
  bool fire() noexcept override;
  void put(std::unique_ptr<Item> item);
  void move() noexcept;
  void move_all() noexcept;
  [[nodiscard]] bool get_in_line(const Ref<Channel>& channel) noexcept;
  void leave_line() noexcept;
  [[nodiscard]] Item* first() noexcept;
  void drop_first() noexcept;
  void give_up() noexcept;

  const Ref<ProcessContext> context_;  // Has us, until it ends.
  const Ref<Channel> answers_;
  std::uint64_t received_ = 0;            // take()'s.
  bool is_settled_ = true;                // Nothing has come since the last sync. Likewise.
  Atomic<std::uint64_t> answered_{0};     // The worker sends more only after it has read that.
  Atomic<std::uint32_t> is_given_up_{0};  // Nobody takes any output.
  std::mutex mutex_;                      // Guards waiting_, not what is in there.
  std::deque<std::unique_ptr<Item>> waiting_;

  OneAtATime movers_;
  Atomic<std::uint32_t> has_fired_{0};
  // Who moves messages has these (S1).
  std::uint64_t taken_ = 0;  // And not yet answered for.
  Ref<Channel> line_;        // Where we wait.
};

}  // namespace penstock::nif
