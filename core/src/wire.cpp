// SPDX-License-Identifier: Apache-2.0
#include "penstock/wire.hpp"

#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

#include "penstock/wire_reader.hpp"

namespace penstock::wire {

namespace {

std::uint8_t* store(std::uint8_t* to, Tag tag) {
  *to = tag;
  return to + 1;
}

/// Private words are in native order; they never leave the machine.
struct Native {
  std::uint64_t word;
};

std::uint8_t* store(std::uint8_t* to, Native native) {
  std::memcpy(to, &native.word, sizeof native.word);
  return to + sizeof native.word;
}

template <class T>
requires std::is_unsigned_v<T> std::uint8_t* store(std::uint8_t* to, T value) {
  value = to_big_endian(value);
  std::memcpy(to, &value, sizeof value);
  return to + sizeof value;
}

}  // namespace

// Writer
// -------------------------------------------------------------------------------------------

template <class... Part>
bool Writer::put(Tag tag, Part... parts) noexcept {
  std::uint8_t* to = message_.extend((sizeof(std::uint8_t) + ... + sizeof(Part)));
  if (to == nullptr) return false;
  to = store(to, tag);
  ((to = store(to, parts)), ...);
  return true;
}

bool Writer::tag(Tag tag) noexcept { return put(tag); }

bool Writer::integer(std::int64_t value) noexcept {
  if (value >= 0 && value <= 255) return put(kSmallInteger, static_cast<std::uint8_t>(value));
  if (value == static_cast<std::int32_t>(value)) {
    return put(kInteger, static_cast<std::uint32_t>(static_cast<std::int32_t>(value)));
  }
  std::uint64_t const magnitude =
      value < 0 ? ~static_cast<std::uint64_t>(value) + 1 : static_cast<std::uint64_t>(value);
  std::uint8_t bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<std::uint8_t>(magnitude >> (8 * i));
  return big_integer(value < 0, bytes);
}

bool Writer::unsigned_integer(std::uint64_t value) noexcept {
  if (value <= std::numeric_limits<std::int64_t>::max()) {
    return integer(static_cast<std::int64_t>(value));
  }
  std::uint8_t bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
  return big_integer(false, bytes);
}

bool Writer::big_integer(bool negative, std::span<const std::uint8_t> magnitude) noexcept {
  while (!magnitude.empty() && magnitude.back() == 0) {
    magnitude = magnitude.first(magnitude.size() - 1);
  }
  if (magnitude.size() > std::numeric_limits<std::uint32_t>::max()) return false;
  const auto size = static_cast<std::uint32_t>(magnitude.size());
  std::uint8_t const sign = negative ? 1 : 0;
  const bool room = size <= 255 ? put(kSmallBig, static_cast<std::uint8_t>(size), sign)
                                : put(kLargeBig, size, sign);
  std::uint8_t* const to = room ? message_.extend(size) : nullptr;
  if (to == nullptr) return false;
  if (size > 0) std::memcpy(to, magnitude.data(), size);
  return true;
}

bool Writer::floating(double value) noexcept {
  return put(kFloat, std::bit_cast<std::uint64_t>(value));
}

bool Writer::tuple(std::uint32_t arity) noexcept {
  return arity <= 255 ? put(kSmallTuple, static_cast<std::uint8_t>(arity))
                      : put(kLargeTuple, arity);
}

bool Writer::list(std::uint32_t length) noexcept { return put(kList, length); }

bool Writer::map(std::uint32_t pairs) noexcept { return put(kMap, pairs); }

std::uint8_t* Writer::bytes_room(Tag as, std::uint32_t size) noexcept {
  std::uint8_t* to = message_.extend(sizeof(std::uint8_t) + sizeof size + std::size_t{size});
  return to == nullptr ? nullptr : store(store(to, as), size);
}

bool Writer::bytes(Tag as, std::span<const std::uint8_t> data) noexcept {
  if (data.size() > Message::kMaxBytes) return false;
  std::uint8_t* const to = bytes_room(as, static_cast<std::uint32_t>(data.size()));
  if (to == nullptr) return false;
  if (!data.empty()) std::memcpy(to, data.data(), data.size());
  return true;
}

bool Writer::atom(std::string_view utf8) noexcept {
  const bool room = utf8.size() <= 255 ? put(kSmallAtom, static_cast<std::uint8_t>(utf8.size()))
                                       : utf8.size() <= std::numeric_limits<std::uint16_t>::max() &&
                                             put(kAtom, static_cast<std::uint16_t>(utf8.size()));
  std::uint8_t* const to = room ? message_.extend(utf8.size()) : nullptr;
  if (to == nullptr) return false;
  if (!utf8.empty()) std::memcpy(to, utf8.data(), utf8.size());
  return true;
}

bool Writer::atom_word(std::uint64_t word) noexcept {
  message_.mark_local();
  return put(kAtomWord, Native{word});
}
bool Writer::pid_word(std::uint64_t word) noexcept { return put(kPidWord, Native{word}); }

bool Writer::opaque(OpaqueKind kind, std::span<const std::uint8_t> external) noexcept {
  if (external.size() > Message::kMaxBytes) return false;
  const auto size = static_cast<std::uint32_t>(external.size());
  if (!put(kOpaque, static_cast<std::uint8_t>(kind), size)) return false;
  std::uint8_t* const to = message_.extend(size);
  if (to == nullptr) return false;
  if (size > 0) std::memcpy(to, external.data(), size);
  return true;
}

bool Writer::handle(HandleKind kind, Ref<Object> object) noexcept {
  if (!put(kHandle, static_cast<std::uint8_t>(kind),
           Native{reinterpret_cast<std::uint64_t>(object.get())})) {
    return false;
  }
  (void)object.take();  // The message's now.
  message_.adopt_objects(0);
  return true;
}

bool Writer::pinned(PinnedAs as, Ref<PinnedBytes> bytes) noexcept {
  Object* const object = bytes.get();
  if (!put(kPinned, static_cast<std::uint8_t>(as),
           Native{reinterpret_cast<std::uint64_t>(object)})) {
    return false;
  }
  std::size_t const size = bytes->bytes().size();
  (void)bytes.take();  // The message's now.
  message_.adopt_objects(size);
  return true;
}

bool Writer::token(HandleKind kind, std::uint64_t token) noexcept {
  return put(kToken, static_cast<std::uint8_t>(kind), Native{token});
}

// Reader
// -------------------------------------------------------------------------------------------

Status Reader::next(Item& item) noexcept { return next_inlined(item); }

bool Reader::end_list() noexcept {
  if (at_ == end_ || *at_ != kNil) return false;
  ++at_;
  --owed_;
  return true;
}

void release_objects(std::span<const std::uint8_t> bytes) noexcept {
  Reader reader(bytes);
  reader.partial_ = true;  // An encoder may have given up half-way.
  Item item{};
  while (!reader.at_end() && reader.next(item) == Status::ok) {
    if (item.tag == kHandle || item.tag == kPinned) item.object->release();
  }
}

}  // namespace penstock::wire
