// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "penstock/channel.hpp"
#include "penstock/descriptors.hpp"
#include "penstock/domain.hpp"
#include "penstock/portable.hpp"
#include "penstock/shared_queue.hpp"

namespace penstock::python {

/// Shared channels that a worker process got from the VM, by the numbers that both know them by.
/// When nothing here refers to one any more, the copies of it that came are given back together.
/// Its memory stays mapped until the VM says that none is on its way.
///
/// Threads: any. channel_of() may wait for what the VM has sent already; nothing else blocks.
class ChannelImports {
 public:
  /// Tells the VM that so many copies are no more.
  using GiveBack = std::function<void(std::uint64_t number, std::uint32_t copies)>;

  /// `passing`: where descriptors come from. `domain`: empty if this process shares no channels.
  ChannelImports(Descriptor passing, Ref<Domain> domain, GiveBack give_back) noexcept
      : passing_(std::move(passing)),
        domain_(std::move(domain)),
        give_back_(std::move(give_back)) {}

  /// One copy came: ok, corrupt (there is no such channel, or the VM is gone) or out_of_memory.
  [[nodiscard]] Status channel_of(std::uint64_t number, Ref<Channel>* channel) noexcept;
  /// ok, or not_shared: it is none of these.
  [[nodiscard]] Status number_of(const Channel& channel, std::uint64_t* number) noexcept;
  /// The VM has taken all copies back.
  void forget(std::uint64_t number) noexcept;

 private:
  struct Import {
    SharedShape shape{};
    std::shared_ptr<const Segment> memory;
    Channel* channel = nullptr;  // Not owned: its destructor tells.
    std::uint32_t copies = 0;
  };

  /// These throw.
  [[nodiscard]] Import* find_or_receive(std::uint64_t number);
  [[nodiscard]] Ref<Channel> attach(std::uint64_t number, Import& import);
  void gone(std::uint64_t number, const Channel& channel) noexcept;

  const Descriptor passing_;
  const Ref<Domain> domain_;
  const GiveBack give_back_;
  wire::ValuePorter porter_{0};

  std::mutex mutex_;  // Guards what follows.
  std::unordered_map<std::uint64_t, Import> imports_;
  std::unordered_map<const Channel*, std::uint64_t> numbers_;
};

}  // namespace penstock::python
