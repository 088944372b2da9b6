// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "penstock/host.hpp"

namespace penstock::test {

/// A host without Erlang: atoms are numbered, pids are words, and what is sent to them is kept.
class MemoryHost final : public Host {
 public:
  explicit MemoryHost(std::size_t max_atoms) : max_atoms_(max_atoms) {}

  [[nodiscard]] Status send(std::span<const std::uint8_t> pid, const Message& message,
                            const Channel* inbox = nullptr) noexcept override;
  [[nodiscard]] Status whereis(std::string_view name, Message& pid) noexcept override;
  [[nodiscard]] Status atom(std::string_view utf8, std::uint64_t& word) noexcept override;
  [[nodiscard]] std::size_t atom_name(std::uint64_t word, std::span<char> name,
                                      bool* ok) noexcept override;
  [[nodiscard]] bool is_pid(std::uint64_t /*word*/) noexcept override { return true; }

  /// The text (terms.hpp) of the oldest message to `pid`, or "" if there is none.
  [[nodiscard]] std::string take(std::uint64_t pid);
  void set_max_atoms(std::size_t count);
  [[nodiscard]] std::size_t atoms();

  static constexpr std::uint64_t kDeadPid = 0xDEAD;
  static constexpr std::uint64_t kRegisteredPid = 0x4203;  // Under the name "server".

 private:
  std::mutex mutex_;
  std::size_t max_atoms_;
  std::map<std::string, std::uint64_t, std::less<>> words_;
  std::vector<std::string> names_;
  std::map<std::uint64_t, std::deque<std::string>> mailboxes_;
};

/// The process's host.
[[nodiscard]] MemoryHost& the_host();

}  // namespace penstock::test
