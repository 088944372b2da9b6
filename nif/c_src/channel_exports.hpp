// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "penstock/descriptors.hpp"
#include "penstock/ref.hpp"
#include "penstock/shared.hpp"
#include "penstock/status.hpp"
#include "penstock/wire.hpp"

namespace penstock::nif {

/// Shared channels and streams that a worker process has got from the VM, by the numbers that both
/// know them by. Each is kept alive until the worker has given back every copy that it was sent.
/// Its counterpart is python::ChannelImports.
///
/// Threads: any.
class ChannelExports {
 public:
  /// `socket`: where descriptors go to the worker.
  explicit ChannelExports(Descriptor socket) noexcept : socket_(std::move(socket)) {}

  /// The number for a message that is about to be sent; the worker has the descriptor by then: ok,
  /// not_shared, closed (the worker is gone) or out_of_memory: more than some 250 that are new to
  /// the worker in one message fit nowhere.
  [[nodiscard]] Status number_of(Shareable& object, std::uint64_t* number) noexcept;
  /// Empty: the worker has none such with that number.
  [[nodiscard]] Ref<Object> object_of(wire::HandleKind kind, std::uint64_t number) noexcept;
  /// The worker gives back so many copies. True: that was the last.
  [[nodiscard]] bool give_back(std::uint64_t number, std::uint32_t copies) noexcept;
  /// The worker is no more.
  void clear() noexcept;

 private:
  struct Export {
    Ref<Shareable> object;
    std::uint64_t copies = 0;
  };

  const Descriptor socket_;
  std::mutex mutex_;  // Guards what follows.
  std::unordered_map<std::uint64_t, Export> exports_;
  std::unordered_map<const Shareable*, std::uint64_t> numbers_;
  std::uint64_t last_number_ = 0;
};

}  // namespace penstock::nif
