// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "penstock/host.hpp"

namespace penstock::nif {

/// What Python may ask of this VM. Threads: any but an Erlang scheduler.
class VmHost final : public Host {
 public:
  [[nodiscard]] Status send(std::span<const std::uint8_t> pid, const Message& message,
                            const Channel* inbox = nullptr) noexcept override;
  [[nodiscard]] Status whereis(std::string_view name, Message& pid) noexcept override;
  [[nodiscard]] Status atom(std::string_view utf8, std::uint64_t& word) noexcept override;
  [[nodiscard]] std::size_t atom_name(std::uint64_t word, std::span<char> name,
                                      bool* ok) noexcept override;
  [[nodiscard]] bool is_pid(std::uint64_t word) noexcept override;
};

/// The only one; lives as long as the OS process.
[[nodiscard]] VmHost& vm_host() noexcept;

}  // namespace penstock::nif
