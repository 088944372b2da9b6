// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "penstock/message.hpp"
#include "penstock/status.hpp"

/// The form in which a term crosses between Erlang and Python.
///
/// One term, without version byte, in Erlang's external term format: big-endian lengths and
/// numbers, the tags below that are in its range. Private tags carry what has a meaning only inside
/// one VM and are refused in messages from other processes. All encoders and decoders are
/// iterative and stop at kMaxDepth.
///
///   tag              bytes after it
///   kSmallInteger    u8
///   kInteger         i32
///   kFloat           f64, finite
///   kSmallBig        u8 n, u8 sign, n bytes of magnitude, least significant first
///   kLargeBig        u32 n, u8 sign, n bytes
///   kSmallTuple      u8 arity, elements        kLargeTuple  u32 arity, elements
///   kNil                                       kList        u32 length, elements, kNil
///   kMap             u32 pairs, key value ...
///   kBinary          u32 n, n bytes: an Erlang binary; in Python str if UTF-8, else bytes
///   kSmallAtom       u8 n, UTF-8 name          kAtom        u16 n, UTF-8 name
///
///   Private:
///   kAtomWord        u64, native order: an atom as the VM's own word
///   kPidWord         u64, native order: a local pid as the VM's own word
///   kTrue kFalse kNone                         (kNone is Python's None, Erlang's `none')
///   kBytes           u32 n, n bytes: Python bytes; an Erlang binary
///   kBytesTuple      u32 n, n bytes: Erlang's {bytes, Binary}; Python bytes
///   kOpaque          u8 OpaqueKind, u32 n, n bytes of external term format with version byte
///   kHandle          u8 HandleKind, u64 native: an Object*, on which the message owns a reference
///   kPinned          u8 PinnedAs, u64 native: a PinnedBytes*, likewise
///   kToken           u8 HandleKind, u64 native: what takes the place of a handle on its way to
///                    another process (portable.hpp)
namespace penstock::wire {

inline constexpr std::uint32_t kMaxDepth = 10'000;

enum Tag : std::uint8_t {
  kTrue = 1,
  kFalse = 2,
  kNone = 3,
  kAtomWord = 4,
  kPidWord = 5,
  kBytes = 6,
  kBytesTuple = 7,
  kOpaque = 8,
  kHandle = 9,
  kPinned = 10,
  kToken = 11,

  kFloat = 70,
  kSmallInteger = 97,
  kInteger = 98,
  kAtom = 118,
  kSmallAtom = 119,
  kSmallTuple = 104,
  kLargeTuple = 105,
  kNil = 106,
  kList = 108,
  kBinary = 109,
  kSmallBig = 110,
  kLargeBig = 111,
  kMap = 116,
};

/// What the Python object of an opaque term is called.
enum class OpaqueKind : std::uint8_t { pid, reference, port, fun };
/// inbox: a channel, of a thread that calls Erlang; the only one that another process may be told
/// of.
enum class HandleKind : std::uint8_t { channel, call, stream, inbox };
/// How pinned bytes read: kBinary, kBytesTuple or kBytes.
enum class PinnedAs : std::uint8_t { binary, bytes_tuple, bytes };

/// Immutable bytes that live outside the message: a large Erlang binary. Counted in its size.
class PinnedBytes : public Object {
 public:
  [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept { return bytes_; }

 protected:
  explicit PinnedBytes(std::span<const std::uint8_t> bytes) noexcept : bytes_(bytes) {}
  std::span<const std::uint8_t> bytes_;
};

/// Appends tagged values to a message. Every call is false when memory ran out, and the message is
/// then to be thrown away; nothing is leaked.
class Writer {
 public:
  explicit Writer(Message& message) noexcept : message_(message) {}

  [[nodiscard]] bool tag(Tag tag) noexcept;
  [[nodiscard]] bool integer(std::int64_t value) noexcept;
  [[nodiscard]] bool unsigned_integer(std::uint64_t value) noexcept;
  /// `magnitude`: least significant byte first; leading zeros are dropped.
  [[nodiscard]] bool big_integer(bool negative, std::span<const std::uint8_t> magnitude) noexcept;
  [[nodiscard]] bool floating(double value) noexcept;
  [[nodiscard]] bool tuple(std::uint32_t arity) noexcept;
  /// Followed by the elements, then end_list(); not for empty lists: those are tag(kNil).
  [[nodiscard]] bool list(std::uint32_t length) noexcept;
  [[nodiscard]] bool end_list() noexcept { return tag(kNil); }
  [[nodiscard]] bool map(std::uint32_t pairs) noexcept;
  /// `as`: kBinary, kBytes or kBytesTuple.
  [[nodiscard]] bool bytes(Tag as, std::span<const std::uint8_t> data) noexcept;
  /// Room for `size` bytes to be filled by the caller; nullptr when memory ran out.
  [[nodiscard]] std::uint8_t* bytes_room(Tag as, std::uint32_t size) noexcept;
  [[nodiscard]] bool atom(std::string_view utf8) noexcept;
  [[nodiscard]] bool atom_word(std::uint64_t word) noexcept;
  [[nodiscard]] bool pid_word(std::uint64_t word) noexcept;
  [[nodiscard]] bool opaque(OpaqueKind kind, std::span<const std::uint8_t> external) noexcept;
  /// Takes over `object`'s reference, also when it fails.
  [[nodiscard]] bool handle(HandleKind kind, Ref<Object> object) noexcept;
  [[nodiscard]] bool pinned(PinnedAs as, Ref<PinnedBytes> bytes) noexcept;
  [[nodiscard]] bool token(HandleKind kind, std::uint64_t token) noexcept;

 private:
  template <class... Part>
  [[nodiscard]] bool put(Tag tag, Part... parts) noexcept;
  Message& message_;
};

/// One decoded head: a scalar, or a container whose elements follow as further heads.
struct Item {
  Tag tag;
  std::uint8_t kind;     ///< OpaqueKind, HandleKind or PinnedAs; for integers of kSmallBig and
                         ///< kLargeBig 1 if negative.
  std::uint32_t count;   ///< Elements of a tuple or list, pairs of a map.
  std::int64_t integer;  ///< kSmallInteger, kInteger.
  double floating;       ///< kFloat.
  std::uint64_t word;    ///< kAtomWord, kPidWord, kToken.
  Object* object;        ///< kHandle, kPinned: borrowed from the message.
  std::span<const std::uint8_t> bytes;  ///< Binaries, atom names, magnitudes, external terms.
};

/// Reads heads one after the other. Never reads outside the bytes, never allocates. Counts that the
/// remaining bytes cannot hold, all open containers together, are refused, so a caller may reserve
/// by them.
class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> bytes) noexcept
      : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  /// Status::ok or Status::corrupt. Lists: the closing kNil is a head of its own (read with
  /// `end_list`), so that count heads follow, then one kNil.
  [[nodiscard]] Status next(Item& item) noexcept;
  /// The same, compiled into who calls it, which takes 7 of 80 ns from a term: wire_reader.hpp.
  [[nodiscard]] inline Status next_inlined(Item& item) noexcept;
  [[nodiscard]] bool end_list() noexcept;
  [[nodiscard]] bool at_end() const noexcept { return at_ == end_; }
  [[nodiscard]] const std::uint8_t* position() const noexcept { return at_; }

 private:
  friend void release_objects(std::span<const std::uint8_t> bytes) noexcept;
  const std::uint8_t* at_;
  const std::uint8_t* end_;
  std::uint64_t owed_ = 0;  // Heads that the term begun still needs, each a byte at least.
  bool partial_ = false;    // Containers may lack elements.
};

/// Drops the references that the private tags in `bytes` own. For Message and its queues only.
void release_objects(std::span<const std::uint8_t> bytes) noexcept;

}  // namespace penstock::wire
