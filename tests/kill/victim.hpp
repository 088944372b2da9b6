// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "penstock/channel.hpp"
#include "penstock/shared_queue.hpp"
#include "report.hpp"

namespace penstock::kill {

/// What a process does that is to die. Each step of a script waits for Report::go.
struct Script {
  const char* name;
  std::uint64_t max_size;
  std::uint64_t steps;
  /// Of the messages that it sends.
  std::size_t (*size)(std::uint64_t index);
};

/// Receives what may go with it when it dies.
[[nodiscard]] inline bool takes(const Script& script) {
  const std::string_view name = script.name;
  return name.starts_with("receive") || name.starts_with("work") || name == "guest_joins";
}

/// nullptr: there is none of that name.
[[nodiscard]] const Script* script_named(const char* name);

/// The rest of main() in a process that begins with `victim`: script, the words of target_words(),
/// its number, and the capacity of the channel.
int victim_main(int count, char** words);

/// Where a channel without a VM is gathered around; `number`: one that nobody else has.
[[nodiscard]] std::string guest_address(std::string_view script, std::uint64_t number);

/// Access, place, hit and fate.
[[nodiscard]] std::vector<std::string> target_words(const Target& target, Fate fate);

/// A channel's terms are not looked into here.
[[nodiscard]] wire::Porter& porter() noexcept;

/// Fills an empty message.
[[nodiscard]] bool write(Message& message, std::uint64_t number, std::size_t size);
/// The number, or all ones: some byte is not as it was written.
[[nodiscard]] std::uint64_t read(const Message& message);

}  // namespace penstock::kill
