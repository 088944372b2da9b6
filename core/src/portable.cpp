// SPDX-License-Identifier: Apache-2.0
#include "penstock/portable.hpp"

#include <cstring>
#include <string_view>

namespace penstock::wire {

namespace {

/// The longest name of an atom, 255 characters, in UTF-8.
constexpr std::size_t kMaxAtomName = 1020;
/// How external term format begins.
constexpr std::uint8_t kExternalVersion = 131;

[[nodiscard]] Status append(Message& out, std::span<const std::uint8_t> bytes) noexcept {
  if (bytes.empty()) return Status::ok;
  std::uint8_t* const room = out.extend(bytes.size());
  if (room == nullptr) return Status::out_of_memory;
  std::memcpy(room, bytes.data(), bytes.size());
  return Status::ok;
}

[[nodiscard]] Status written(bool ok) noexcept { return ok ? Status::ok : Status::out_of_memory; }

[[nodiscard]] Tag tag_of(std::uint8_t pinned_as) noexcept {
  switch (static_cast<PinnedAs>(pinned_as)) {
    case PinnedAs::bytes:
      return kBytes;
    case PinnedAs::bytes_tuple:
      return kBytesTuple;
    default:
      return kBinary;
  }
}

/// Copies heads as they are, but for those that `replace` writes itself: it says whether it did.
template <class Replace>
[[nodiscard]] Status convert(std::span<const std::uint8_t> bytes, Message& out,
                             Replace replace) noexcept {
  Reader reader(bytes);
  const std::uint8_t* plain = bytes.data();  // What is to be copied begins here.
  while (!reader.at_end()) {
    const std::uint8_t* const start = reader.position();
    Item item{};
    if (const Status status = reader.next(item); status != Status::ok) return status;
    if (!replace.is_for(item)) continue;
    if (const Status status = append(out, {plain, start}); status != Status::ok) return status;
    if (const Status status = replace(item); status != Status::ok) return status;
    plain = reader.position();
  }
  return append(out, {plain, reader.position()});
}

class Outwards {
 public:
  Outwards(Porter& porter, Message& out) noexcept : porter_(porter), writer_(out) {}

  [[nodiscard]] static bool is_for(const Item& item) noexcept {
    return item.tag == kAtomWord || item.tag == kHandle || item.tag == kPinned ||
           item.tag == kToken;
  }
  [[nodiscard]] Status operator()(const Item& item) noexcept {
    switch (item.tag) {
      case kAtomWord:
        return atom(item.word);
      case kHandle:
        return handle(item);
      case kPinned:
        return written(
            writer_.bytes(tag_of(item.kind), static_cast<PinnedBytes*>(item.object)->bytes()));
      default:
        return Status::corrupt;
    }
  }

 private:
  [[nodiscard]] Status atom(std::uint64_t word) noexcept {
    char name[kMaxAtomName];
    bool ok = false;
    std::size_t const size = porter_.atom_name(word, name, &ok);
    return ok ? written(writer_.atom({name, size})) : Status::corrupt;
  }
  [[nodiscard]] Status handle(const Item& item) noexcept {
    const auto kind = static_cast<HandleKind>(item.kind);
    std::uint64_t token = 0;
    const Status status = porter_.token_of(kind, *item.object, &token);
    return status == Status::ok ? written(writer_.token(kind, token)) : status;
  }

  Porter& porter_;
  Writer writer_;
};

class Inwards {
 public:
  Inwards(Porter& porter, Message& out) noexcept : porter_(porter), writer_(out) {}

  [[nodiscard]] static bool is_for(const Item& item) noexcept {
    return item.tag == kToken || item.tag == kPidWord || item.tag == kOpaque ||
           item.tag == kAtomWord || item.tag == kHandle || item.tag == kPinned;
  }
  [[nodiscard]] Status operator()(const Item& item) noexcept {
    switch (item.tag) {
      case kToken:
        return token(item);
      case kPidWord:
        if (!porter_.is_pid(item.word)) return Status::corrupt;
        return written(writer_.pid_word(item.word));
      case kOpaque:
        return opaque(item);
      default:
        return Status::corrupt;  // An address of the other end's, or meant as one of ours.
    }
  }

 private:
  [[nodiscard]] Status token(const Item& item) noexcept {
    const auto kind = static_cast<HandleKind>(item.kind);
    Ref<Object> object;
    if (const Status status = porter_.object_of(kind, item.word, &object); status != Status::ok) {
      return status;
    }
    return written(writer_.handle(kind, std::move(object)));
  }
  [[nodiscard]] Status opaque(const Item& item) noexcept {
    if (!may_be_external(item.kind, item.bytes)) return Status::corrupt;
    return written(writer_.opaque(static_cast<OpaqueKind>(item.kind), item.bytes));
  }

  Porter& porter_;
  Writer writer_;
};

}  // namespace

bool may_be_external(std::uint8_t kind, std::span<const std::uint8_t> external) noexcept {
  if (external.size() < 2 || external[0] != kExternalVersion) return false;
  // Its tags, the newer form first.
  std::uint8_t const tag = external[1];
  switch (static_cast<OpaqueKind>(kind)) {
    case OpaqueKind::pid:
      return tag == 88 || tag == 103;
    case OpaqueKind::reference:
      return tag == 90 || tag == 114 || tag == 101;
    case OpaqueKind::port:
      return tag == 120 || tag == 89 || tag == 102;
    case OpaqueKind::fun:
      return tag == 112 || tag == 113;  // Of this node's code, and exported.
  }
  return false;
}

Status to_portable(std::span<const std::uint8_t> bytes, Porter& porter, Message& out) noexcept {
  return convert(bytes, out, Outwards(porter, out));
}

Status from_portable(std::span<const std::uint8_t> bytes, Porter& porter, Message& out) noexcept {
  return convert(bytes, out, Inwards(porter, out));
}

}  // namespace penstock::wire
