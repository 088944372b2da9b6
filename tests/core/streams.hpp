// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include "penstock/byte_stream.hpp"
#include "support.hpp"

/// What the tests of byte streams share: bytes that tell their position, and short ways to write
/// and to read them.
namespace penstock::test {

using Bytes = std::vector<std::uint8_t>;

/// The byte of a stream at this position: neighbours, and those of other chunks, differ.
inline std::uint8_t stream_byte(std::uint64_t position) {
  return static_cast<std::uint8_t>((position * 0x9E3779B97F4A7C15ULL) >> 41);
}

inline Bytes stream_bytes(std::uint64_t from, std::size_t count) {
  Bytes bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = stream_byte(from + i);
  return bytes;
}

/// Bytes of its own that are referred to; counts how many of its kind live.
class OwnedBytes final : public wire::PinnedBytes {
 public:
  OwnedBytes(std::atomic<int>& live, Bytes bytes)
      : PinnedBytes({}), live_(live), storage_(std::move(bytes)) {
    bytes_ = storage_;
    live_.fetch_add(1);
  }

 private:
  ~OwnedBytes() override { live_.fetch_sub(1); }
  std::atomic<int>& live_;
  Bytes storage_;
};

inline Ref<wire::PinnedBytes> owned(std::atomic<int>& live, Bytes bytes) {
  return Ref<wire::PinnedBytes>::steal(new OwnedBytes(live, std::move(bytes)));
}

inline Status write_by_reference(ByteStream& stream, std::atomic<int>& live, Bytes bytes) {
  Ref<wire::PinnedBytes> pinned = owned(live, std::move(bytes));
  return stream.write(pinned);
}

/// The reader role for a statement or a scope.
class Reader {
 public:
  explicit Reader(ByteStream& stream) : reading_(held(stream)) {}
  ByteStream::Reading* operator->() { return &reading_; }

  /// Copies the next `count` bytes, which are there, and moves on.
  Bytes take(std::size_t count) {
    Bytes bytes(count);
    reading_.copy(reading_.position(), bytes.data(), count);
    reading_.consume(count);
    return bytes;
  }
  Bytes take_all() { return take(static_cast<std::size_t>(reading_.available())); }

 private:
  static ByteStream& held(ByteStream& stream) {
    stream.begin_reading();
    return stream;
  }
  ByteStream::Reading reading_;
};

}  // namespace penstock::test
