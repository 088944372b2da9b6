// SPDX-License-Identifier: Apache-2.0
#include "foreign_binary.hpp"

#include <cstring>
#include <new>
#include <utility>

#include "counters.hpp"
#include "penstock/bytes.hpp"
#include "pinned.hpp"
#include "resource.hpp"

namespace penstock::nif {

namespace {

/// Keeps bytes that belong to Python while Erlang has a binary of them.
class ForeignBytes {
 public:
  explicit ForeignBytes(Ref<wire::PinnedBytes> bytes) noexcept : bytes_(std::move(bytes)) {
    count(counters().pinned_bytes, size());
  }
  ~ForeignBytes() { count(counters().pinned_bytes, -size()); }

 private:
  [[nodiscard]] std::int64_t size() const noexcept {
    return static_cast<std::int64_t>(bytes_->bytes().size());
  }
  const Ref<wire::PinnedBytes> bytes_;
};

/// Keeps a message while Erlang has a binary of its bytes.
class MessageBytes {
 public:
  explicit MessageBytes(std::unique_ptr<Message> message) noexcept : message_(std::move(message)) {}

 private:
  const std::unique_ptr<Message> message_;
};

}  // namespace

ERL_NIF_TERM copied_binary(ErlNifEnv* env, std::span<const std::uint8_t> bytes) {
  ERL_NIF_TERM term{};
  std::uint8_t* const room = enif_make_new_binary(env, bytes.size(), &term);
  if (!bytes.empty()) std::memcpy(room, bytes.data(), bytes.size());
  return term;
}

ERL_NIF_TERM binary_of(ErlNifEnv* env, wire::PinnedBytes& bytes) {
  if (const auto* const ours = dynamic_cast<const PinnedBinary*>(&bytes)) return ours->term(env);
  const auto resource = Resource<ForeignBytes>::make(Ref<wire::PinnedBytes>::borrow(&bytes));
  return enif_make_resource_binary(env, resource.get(), bytes.bytes().data(), bytes.bytes().size());
}

ERL_NIF_TERM binary_of(ErlNifEnv* env, std::unique_ptr<Message>& message) {
  const auto bytes = message->bytes();
  // Short ones are copied: a copy costs less than a resource, and the rest of the block is free.
  if (bytes.size() < bytes::kPinThreshold) {
    const ERL_NIF_TERM term = copied_binary(env, bytes);
    message->clear();
    return term;
  }
  std::unique_ptr<Message> next(new (std::nothrow) Message());
  if (next == nullptr) {
    const ERL_NIF_TERM term = copied_binary(env, bytes);
    message->clear();
    return term;
  }
  const auto resource = Resource<MessageBytes>::make(std::exchange(message, std::move(next)));
  return enif_make_resource_binary(env, resource.get(), bytes.data(), bytes.size());
}

bool open_foreign_binary_types(ErlNifEnv* env) noexcept {
  return Resource<ForeignBytes>::open(env, "penstock_foreign_bytes") &&
         Resource<MessageBytes>::open(env, "penstock_message_bytes");
}

}  // namespace penstock::nif
