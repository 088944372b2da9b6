// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "penstock/channel.hpp"
#include "penstock/one_at_a_time.hpp"
#include "penstock/waiter.hpp"
#include "process_context.hpp"

namespace penstock::nif {

/// Stands in the VM for the inbox of a thread of a worker process: a channel like any, and what is
/// put there goes on at once, on the thread that puts it there.
///
/// When nobody in Erlang refers to the channel any more, the worker is told. When the worker is
/// gone the channel is closed, and the process that stands for the thread ends.
///
/// Threads: any.
class InboxRelay final : public Waiter, public Object {
 public:
  InboxRelay(Ref<ProcessContext> context, std::uint64_t id, Ref<Channel> channel) noexcept
      : context_(std::move(context)), id_(id), channel_(std::move(channel)) {}

  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  /// From now on messages move, once Erlang has got the channel.
  void open() noexcept { move(); }
  /// The worker is gone, or that thread of it.
  void lose() noexcept;
  /// Call `call` did not get to where it was to be run.
  void refuse(std::int64_t call, std::string_view text) noexcept;
  /// Nor could it have, for there is no such process: it may be sent again.
  void give_back(std::int64_t call) noexcept;

 private:
  ~InboxRelay() override = default;
  bool fire() noexcept override;
  void move() noexcept;
  void move_all() noexcept;
  void pass_on(const Message& message) noexcept;
  void note_process(const Message& message) noexcept;

  const Ref<ProcessContext> context_;  // Has us, until it ends.
  const std::uint64_t id_;
  const Ref<Channel> channel_;
  OneAtATime movers_;
  Atomic<std::uint32_t> has_fired_{0};
  Atomic<std::uint32_t> is_lost_{0};
  // Who moves messages has these (S1).
  bool is_in_line_ = false;
  bool is_done_ = false;
  std::uint64_t process_ = 0;  // That stands for the thread, once known.
};

}  // namespace penstock::nif
