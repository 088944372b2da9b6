// SPDX-License-Identifier: Apache-2.0
#include "host.hpp"

#include <cstring>

#include "penstock/wire.hpp"
#include "terms.hpp"

namespace penstock::test {

namespace {

constexpr std::uint64_t kAtomTag = 0xB;
constexpr std::uint64_t word_of(std::size_t index) { return index << 6 | kAtomTag; }

}  // namespace

Status MemoryHost::send(std::span<const std::uint8_t> pid, const Message& message,
                        const Channel* /*inbox*/) noexcept {
  wire::Reader reader(pid);
  wire::Item item;
  if (reader.next(item) != Status::ok || item.tag != wire::kPidWord) return Status::corrupt;
  if (item.word == kDeadPid) return Status::unreachable;
  std::string text = text_of(message.bytes());
  const std::lock_guard lock(mutex_);
  mailboxes_[item.word].push_back(std::move(text));
  return Status::ok;
}

Status MemoryHost::whereis(std::string_view name, Message& pid) noexcept {
  if (name != "server") return Status::unreachable;
  return wire::Writer(pid).pid_word(kRegisteredPid) ? Status::ok : Status::out_of_memory;
}

Status MemoryHost::atom(std::string_view utf8, std::uint64_t& word) noexcept {
  const std::lock_guard lock(mutex_);
  if (const auto known = words_.find(utf8); known != words_.end()) {
    word = known->second;
    return Status::ok;
  }
  if (names_.size() >= max_atoms_) return Status::limit;
  word = word_of(names_.size());
  names_.emplace_back(utf8);
  words_.emplace(utf8, word);
  return Status::ok;
}

std::size_t MemoryHost::atom_name(std::uint64_t word, std::span<char> name, bool* ok) noexcept {
  const std::lock_guard lock(mutex_);
  std::uint64_t const index = word >> 6;
  *ok = (word & 0x3F) == kAtomTag && index < names_.size();
  if (!*ok) return 0;
  std::memcpy(name.data(), names_[index].data(), names_[index].size());
  return names_[index].size();
}

std::string MemoryHost::take(std::uint64_t pid) {
  const std::lock_guard lock(mutex_);
  auto& mailbox = mailboxes_[pid];
  if (mailbox.empty()) return {};
  std::string text = std::move(mailbox.front());
  mailbox.pop_front();
  return text;
}

void MemoryHost::set_max_atoms(std::size_t count) {
  const std::lock_guard lock(mutex_);
  max_atoms_ = count;
}

std::size_t MemoryHost::atoms() {
  const std::lock_guard lock(mutex_);
  return names_.size();
}

MemoryHost& the_host() {
  static MemoryHost host(10'000);
  return host;
}

}  // namespace penstock::test
