// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <memory>

#include "penstock/message.hpp"
#include "penstock/wire.hpp"

/// Binaries whose bytes are not copied from where they are. Throw bad_alloc.
namespace penstock::nif {

/// A binary of bytes that Erlang or Python owns. Erlang's own binary if that is what they are.
[[nodiscard]] ERL_NIF_TERM binary_of(ErlNifEnv* env, wire::PinnedBytes& bytes);

/// A binary of a message's bytes. Takes the message, if that is worth it, and leaves another one.
[[nodiscard]] ERL_NIF_TERM binary_of(ErlNifEnv* env, std::unique_ptr<Message>& message);

/// A binary of a copy.
[[nodiscard]] ERL_NIF_TERM copied_binary(ErlNifEnv* env, std::span<const std::uint8_t> bytes);

[[nodiscard]] bool open_foreign_binary_types(ErlNifEnv* env) noexcept;

}  // namespace penstock::nif
