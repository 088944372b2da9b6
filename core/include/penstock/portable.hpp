// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "penstock/message.hpp"
#include "penstock/ref.hpp"
#include "penstock/status.hpp"
#include "penstock/wire.hpp"

/// The form of a message that may leave this process: nothing in it is an address here.
///
///   here           there
///   kAtomWord      kSmallAtom or kAtom, the name
///   kPidWord       the same: there it is a word that nobody looks into
///   kHandle        kToken: a number that both ends know the object by
///   kPinned        its bytes
namespace penstock::wire {

/// What an end knows of its own words and objects.
///
/// Threads: whoever converts.
class Porter {
 public:
  /// Writes the UTF-8 name of an atom word to `name` (1020 bytes suffice); its length, or 0 and
  /// *ok false if that is no atom.
  [[nodiscard]] virtual std::size_t atom_name(std::uint64_t word, std::span<char> name,
                                              bool* ok) noexcept = 0;
  /// The number by which the other end will know `object`: ok, not_shared or out_of_memory.
  [[nodiscard]] virtual Status token_of(HandleKind kind, Object& object,
                                        std::uint64_t* token) noexcept = 0;
  /// The object that the other end calls `token`: ok, corrupt or out_of_memory.
  [[nodiscard]] virtual Status object_of(HandleKind kind, std::uint64_t token,
                                         Ref<Object>* object) noexcept = 0;
  /// Whether the other end may name that process.
  [[nodiscard]] virtual bool is_pid(std::uint64_t word) noexcept = 0;

 protected:
  Porter() = default;
  ~Porter() = default;
};

/// For terms that hold no objects, in the words of the process's Host: those in channels that
/// processes share.
class ValuePorter final : public Porter {
 public:
  /// `pid`: the word of some pid, if words that are no pids must not get in; 0: who sends is
  /// trusted.
  explicit ValuePorter(std::uint64_t pid) noexcept : pid_(pid) {}
  [[nodiscard]] std::size_t atom_name(std::uint64_t word, std::span<char> name,
                                      bool* ok) noexcept override;
  [[nodiscard]] Status token_of(HandleKind kind, Object& object,
                                std::uint64_t* token) noexcept override;
  [[nodiscard]] Status object_of(HandleKind kind, std::uint64_t token,
                                 Ref<Object>* object) noexcept override;
  [[nodiscard]] bool is_pid(std::uint64_t word) noexcept override;

 private:
  const std::uint64_t pid_;
};
/// All words of local pids end alike.
[[nodiscard]] constexpr bool is_pid_like(std::uint64_t word, std::uint64_t pid) noexcept {
  constexpr std::uint64_t kTag = 0xF;
  return (word & kTag) == (pid & kTag);
}

/// Whether `external` begins as a term of that kind does in external term format. What comes from
/// another process as a pid or a reference is not to become anything else; least of all a few bytes
/// that are decompressed.
[[nodiscard]] bool may_be_external(std::uint8_t kind,
                                   std::span<const std::uint8_t> external) noexcept;

/// Appends the term in `bytes`, which is ours, in portable form: ok, not_shared, corrupt or
/// out_of_memory.
[[nodiscard]] Status to_portable(std::span<const std::uint8_t> bytes, Porter& porter,
                                 Message& out) noexcept;
/// Appends the term in `bytes`, which may be anything, in the form of this process: ok, corrupt or
/// out_of_memory. Tokens become handles; words that are none of the other end's business are
/// corrupt. Bounded by the length of `bytes`.
[[nodiscard]] Status from_portable(std::span<const std::uint8_t> bytes, Porter& porter,
                                   Message& out) noexcept;

}  // namespace penstock::wire
