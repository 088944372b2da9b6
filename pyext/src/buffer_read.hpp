// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "gil.hpp"
#include "penstock/byte_stream.hpp"

namespace penstock::python {

/// Copies and searches of this many bytes are done without the GIL.
inline constexpr std::uint64_t kLong = 256 * 1024;

/// Reading, for a scope that holds the GIL and runs no user code.
///
/// The GIL stands in for the reader role, whose two atomic exchanges would cost as much as reading
/// a line: all who read hold it when they begin, and take the role only for the time that they let
/// go of it (WithoutGil). Who meets one of those waits without the GIL, which that one needs to
/// come to its end. Readers with another GIL are kept out: see may_read().
class HeldReading {
 public:
  explicit HeldReading(ByteStream& stream) {
    if (stream.is_shared()) [[unlikely]]
      pull(stream);
    if (stream.has_line()) [[unlikely]] {
      const GilRelease released;
      stream.let_others_read();
    }
    while (stream.is_being_read()) [[unlikely]] {
        const ByteStream::Place place(stream);  // Until it has the GIL again.
        const GilRelease released;
        stream.begin_reading();
        stream.end_reading();  // Without the GIL the role is for waiting only.
      }
    reading_.emplace(stream, ByteStream::Reading::Role::not_needed);
  }
  ByteStream::Reading& operator*() noexcept { return *reading_; }
  ByteStream::Reading* operator->() noexcept { return &*reading_; }

 private:
  static void pull(ByteStream& stream) {
    if (stream.to_pull() < kLong) return stream.pull();
    const GilRelease released;
    stream.pull();
  }

  std::optional<ByteStream::Reading> reading_;
};

/// Long work of a reader, without the GIL.
class WithoutGil {
 public:
  explicit WithoutGil(ByteStream::Reading& reading) : role_(reading) {}

 private:
  struct Role {
    explicit Role(ByteStream::Reading& reading) noexcept { reading.take_role(); }
  };
  [[no_unique_address]] Role role_;  // First: the GIL stood in for it.
  GilRelease released_;              // Not in a std::optional: its end may throw.
};

/// What a reading call is satisfied with.
enum class Want : std::uint8_t {
  now,   ///< What is there, even nothing.
  some,  ///< What is there, a byte at least.
  fill,  ///< As many bytes as it asks for.
  line,  ///< The next newline.
};

/// A sized read is filled if an end is in sight, as applications that were told the length of a
/// body expect; else it gives what is there.
[[nodiscard]] inline Want want_of_read(const ByteStream& stream, std::uint64_t limit) noexcept {
  const bool fills =
      limit == ByteStream::kUnknown || stream.options().content_length != ByteStream::kUnknown;
  return fills ? Want::fill : Want::some;
}

/// What one reading call asks for. Nothing is taken before it is satisfied, so a call that is given
/// up has nothing to give back.
class BufferRead {
 public:
  static constexpr std::uint64_t kUnlimited = ByteStream::kUnknown;

  /// At most `limit` bytes. A line ends no earlier than after `skip` bytes.
  BufferRead(Want want, std::uint64_t limit, std::uint64_t skip = 0) noexcept
      : want_(want), limit_(limit), skip_(skip) {}

  struct Verdict {
    enum Kind : std::uint8_t {
      take,  ///< `value` bytes are what it asked for; 0: the end.
      wait,  ///< Look again when position `value` is written, or at the end.
      fail,  ///< The stream ended too early.
    };
    Kind kind;
    std::uint64_t value;
    ByteStream::End end = ByteStream::End::open;
  };
  [[nodiscard]] Verdict look(ByteStream::Reading& reading,
                             const ByteStream::Options& options) const;

 private:
  [[nodiscard]] std::uint64_t line_length(ByteStream::Reading& reading, std::uint64_t count) const;
  [[nodiscard]] std::uint64_t next_look(ByteStream::Reading& reading,
                                        const ByteStream::Options& options) const noexcept;

  Want want_;
  std::uint64_t limit_;
  std::uint64_t skip_;
};

/// The next `count` bytes, which are there, as bytes: nullptr: MemoryError is set, nothing is
/// taken.
[[nodiscard]] PyObject* take_bytes(ByteStream::Reading& reading, std::uint64_t count);

/// Same, into memory that the caller exported.
void take_into(ByteStream::Reading& reading, std::uint8_t* to, std::uint64_t count);

/// A copy of `count` bytes that are there; they stay.
[[nodiscard]] PyObject* copy_bytes(ByteStream::Reading& reading, std::uint64_t count);

}  // namespace penstock::python
