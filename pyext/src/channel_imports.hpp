// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "penstock/descriptors.hpp"
#include "penstock/domain.hpp"
#include "penstock/portable.hpp"
#include "penstock/shared.hpp"
#include "penstock/wire.hpp"

namespace penstock::python {

/// Shared channels and streams that a worker process got from the VM, by the numbers that both know
/// them by. When nothing here refers to one any more, the copies of it that came are given back
/// together. Its memory stays mapped until the VM says that none is on its way.
///
/// Threads: any. object_of() may wait for what the VM has sent already; nothing else blocks.
class ChannelImports {
 public:
  /// Tells the VM that so many copies are no more.
  using GiveBack = std::function<void(std::uint64_t number, std::uint32_t copies)>;

  /// `passing`: where descriptors come from. `domain`: empty if this process shares no channels.
  ChannelImports(Descriptor passing, Ref<Domain> domain, GiveBack give_back) noexcept
      : passing_(std::move(passing)),
        domain_(std::move(domain)),
        give_back_(std::move(give_back)) {}

  /// ok, corrupt (its memory did not come, or the VM is gone) or out_of_memory.
  [[nodiscard]] Status object_of(wire::HandleKind kind, std::uint64_t number,
                                 Ref<Object>* object) noexcept;
  /// The message holds copies that came from the VM, each of which is to be given back.
  void came(const Message& message) noexcept;
  /// ok, or not_shared: it is none of these.
  [[nodiscard]] Status number_of(const Shareable& object, std::uint64_t* number) noexcept;
  /// The VM has taken all copies back.
  void forget(std::uint64_t number) noexcept;

 private:
  struct Import {
    SharedShape shape{};
    std::shared_ptr<const Segment> memory;  // None: it did not come.
    Shareable* object = nullptr;            // Not owned: its destructor tells.
    std::uint32_t copies = 0;
  };

  /// Throws bad_alloc. False: nothing came; the VM is gone, or does not send without being waited
  /// for.
  bool receive_one(int flags);
  /// These throw.
  [[nodiscard]] Import* find_or_receive(std::uint64_t number);
  [[nodiscard]] Ref<Shareable> attach(std::uint64_t number, Import& import);
  void gone(std::uint64_t number, const Shareable& object) noexcept;

  const Descriptor passing_;
  const Ref<Domain> domain_;
  const GiveBack give_back_;
  wire::ValuePorter porter_{0};

  std::mutex mutex_;  // Guards what follows.
  std::condition_variable has_gone_;
  std::unordered_map<std::uint64_t, Import> imports_;
  std::unordered_map<const Shareable*, std::uint64_t> numbers_;
};

}  // namespace penstock::python
