// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "penstock/message.hpp"
#include "penstock/status.hpp"
#include "penstock/wire.hpp"

/// Erlang terms to and from wire form. docs/types.md says what each type becomes.
namespace penstock::nif {

/// What may be done on a normal scheduler: well under a millisecond.
inline constexpr std::size_t kMaxBytesAtOnce = 64 * 1024;
inline constexpr std::uint32_t kMaxElementsAtOnce = 8 * 1024;

/// Writes terms to a message, without recursion.
///
/// On a normal scheduler it gives up with too_much_work after a bounded amount of it, and the
/// caller starts again on a dirty one; there it goes on to the end. Cost: no allocation up to 8
/// levels of nesting. Threads: inside one NIF call.
class Encoder {
 public:
  enum class Outcome : std::uint8_t { ok, out_of_memory, too_much_work, unsupported };

  /// How atoms are written: as words of this VM, or by name, for another process.
  enum class AtomsAs : std::uint8_t { words, names };

  Encoder(ErlNifEnv* env, Message& message, AtomsAs atoms = AtomsAs::words) noexcept
      : env_(env), message_(message), writer_(message), atoms_(atoms) {}
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;
  ~Encoder();

  /// Appends `term`. Unless ok, the message is to be thrown away.
  [[nodiscard]] Outcome term(ERL_NIF_TERM term) noexcept;
  /// Appends the elements of a tuple, without the tuple's own head.
  [[nodiscard]] Outcome elements(const ERL_NIF_TERM* elements, std::uint32_t count) noexcept;

  /// After unsupported: {unsupported, Type, Path}. Path leads from the term to what has no wire
  /// form: positions in lists and tuples, from 1 on, and keys of maps.
  [[nodiscard]] ERL_NIF_TERM reason() noexcept;

 private:
  enum class Kind : std::uint8_t { tuple, list, map };
  enum class Step : std::uint8_t { term, done, out_of_memory };

  /// A container that is being written.
  struct Open {
    Kind kind;
    bool in_key;          ///< Inside a map's key, so what Python cannot hash is refused.
    bool at_key;          ///< Of a map: the key was begun, its value comes next.
    std::uint32_t begun;  ///< Elements, or pairs.
    std::uint32_t count;
    union {
      const ERL_NIF_TERM* elements;  // tuple
      ERL_NIF_TERM tail;             // list
      ErlNifMapIterator pairs;       // map
    };
  };

  [[nodiscard]] Outcome run() noexcept;
  [[nodiscard]] Outcome one(ERL_NIF_TERM term) noexcept;
  [[nodiscard]] Step next(ERL_NIF_TERM* term) noexcept;
  [[nodiscard]] static bool next_of_map(ErlNifEnv* env, Open& map, ERL_NIF_TERM* term) noexcept;

  [[nodiscard]] bool atom(ERL_NIF_TERM term) noexcept;
  [[nodiscard]] Outcome integer(ERL_NIF_TERM term) noexcept;
  [[nodiscard]] Outcome binary(ERL_NIF_TERM term, wire::Tag as) noexcept;
  [[nodiscard]] Outcome tuple(ERL_NIF_TERM term) noexcept;
  [[nodiscard]] Outcome list(ERL_NIF_TERM term) noexcept;
  [[nodiscard]] Outcome map(ERL_NIF_TERM term) noexcept;
  [[nodiscard]] Outcome pid(ERL_NIF_TERM term) noexcept;
  [[nodiscard]] Outcome reference(ERL_NIF_TERM term) noexcept;
  [[nodiscard]] Outcome handle(wire::HandleKind kind, ERL_NIF_TERM reference,
                               Addressable& object) noexcept;
  [[nodiscard]] Outcome opaque(wire::OpaqueKind kind, ERL_NIF_TERM term) noexcept;

  [[nodiscard]] Outcome open(Kind kind, std::uint32_t count) noexcept;
  [[nodiscard]] bool grow() noexcept;
  [[nodiscard]] bool in_key() const noexcept;
  /// Whether `count` more elements of work may be done here and now.
  [[nodiscard]] bool afford(std::uint32_t count) noexcept;
  [[nodiscard]] bool afford_bytes(std::size_t bytes) noexcept;
  [[nodiscard]] bool go_on() noexcept;
  [[nodiscard]] Outcome refuse(ERL_NIF_TERM type) noexcept;
  [[nodiscard]] static Outcome written(bool room) noexcept {
    return room ? Outcome::ok : Outcome::out_of_memory;
  }

  static constexpr std::uint32_t kInlineDepth = 8;

  ErlNifEnv* const env_;
  Message& message_;
  wire::Writer writer_;
  const AtomsAs atoms_;
  std::uint32_t affordable_ = kMaxElementsAtOnce;
  bool unlimited_ = false;
  std::uint32_t depth_ = 0;
  std::uint32_t capacity_ = kInlineDepth;
  Open* stack_ = inline_;
  std::unique_ptr<Open[]> heap_;
  ERL_NIF_TERM refused_type_ = 0;
  Open inline_[kInlineDepth];
};

/// Reads one term: ok, corrupt, limit (too many new atoms), or out_of_memory. Without recursion.
/// Any thread; `env` is the calling process's or one of the thread's own.
[[nodiscard]] Status decode(ErlNifEnv* env, const Message& message, ERL_NIF_TERM* term) noexcept;

}  // namespace penstock::nif
