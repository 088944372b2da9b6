// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <unordered_map>

#include "penstock/channel.hpp"
#include "penstock/one_at_a_time.hpp"
#include "penstock/python/runtime.hpp"
#include "penstock/waiter.hpp"

namespace penstock::python {

class Uplink;

/// What takes output in a worker process, in the place of py_output: passes it on to the VM as far
/// as that allows, on the thread that writes. Its counterpart is nif::OutputRelay.
///
/// The channel is bounded as that of py_output is, so who writes faster than Erlang takes it waits.
///
/// Threads: move() any; everything else the one that receives.
class OutputUplink final : public Waiter, public Object {
 public:
  /// Opens the outlet of this process. Empty when memory ran out.
  [[nodiscard]] static Ref<OutputUplink> open(Uplink& uplink, OutputSettings settings);

  /// The VM has taken so much.
  void taken(std::uint64_t cost) noexcept;
  /// py_output has handled what came before a sync, whose number `term` is.
  void settled(std::span<const std::uint8_t> term) noexcept;
  /// Nobody takes anything any more.
  void close() noexcept;

 private:
  /// Somebody who waits until what was sent before is handled.
  struct Sync {
    Ref<Channel> channel;
    std::int64_t number;
  };

  OutputUplink(Uplink& uplink, Ref<Channel> channel) noexcept
      : uplink_(uplink), channel_(std::move(channel)) {}
  ~OutputUplink() override = default;
  bool fire() noexcept override;
  void move() noexcept;
  void move_all() noexcept;
  void pass_on(const Message& message) noexcept;
  [[nodiscard]] std::uint64_t note(Sync sync) noexcept;
  static void answer(const Sync& sync) noexcept;

  Uplink& uplink_;
  const Ref<Channel> channel_;
  Atomic<std::uint64_t> taken_{0};
  OneAtATime movers_;
  Atomic<std::uint32_t> has_fired_{0};
  // Who moves messages has these (S1).
  std::uint64_t in_flight_ = 0;
  bool is_in_line_ = false;

  std::mutex mutex_;  // Guards what follows.
  std::unordered_map<std::uint64_t, Sync> syncs_;
  std::uint64_t last_sync_ = 0;
  bool is_closed_ = false;
};

}  // namespace penstock::python
