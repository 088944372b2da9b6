// SPDX-License-Identifier: Apache-2.0
#include "ends.hpp"

#include "input.hpp"
#include "penstock/host.hpp"

namespace penstock::fuzz {

namespace {

constexpr std::uint64_t kChannel = 7, kStream = 8, kCall = 9;

struct Call final : public Object {};

}  // namespace

LinkEnd::LinkEnd()
    : channel_(Channel::create(0)),
      stream_(ByteStream::create({})),
      call_(Ref<Object>::steal(new Call)) {
  require(channel_.get() != nullptr && stream_.get() != nullptr);
}

std::size_t LinkEnd::atom_name(std::uint64_t word, std::span<char> name, bool* ok) noexcept {
  Host* const known_by = host();
  *ok = false;
  return known_by != nullptr ? known_by->atom_name(word, name, ok) : 0;
}

Status LinkEnd::token_of(wire::HandleKind kind, Object& object, std::uint64_t* token) noexcept {
  const bool is_channel = &object == static_cast<Object*>(channel_.get());
  require(is_channel
              ? kind == wire::HandleKind::channel
              : kind == wire::HandleKind::stream && &object == static_cast<Object*>(stream_.get()));
  *token = is_channel ? kChannel : kStream;
  return Status::ok;
}

Status LinkEnd::object_of(wire::HandleKind kind, std::uint64_t token,
                          Ref<Object>* object) noexcept {
  if (kind == wire::HandleKind::channel && token == kChannel) {
    *object = Ref<Object>::borrow(channel_.get());
  } else if (kind == wire::HandleKind::stream && token == kStream) {
    *object = Ref<Object>::borrow(stream_.get());
  } else if (kind == wire::HandleKind::call && token == kCall) {
    *object = call_;
  } else {
    return Status::corrupt;
  }
  return Status::ok;
}

bool LinkEnd::is_pid(std::uint64_t word) noexcept {
  return host() == nullptr || host()->is_pid(word);
}

}  // namespace penstock::fuzz
