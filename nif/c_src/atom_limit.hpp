// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <cstdint>
#include <string_view>

#include "penstock/status.hpp"

/// Atoms whose names come from data. The VM never frees an atom and dies when its table is full, so
/// those that Python brings into being are counted against a limit; existing ones are free.
namespace penstock::nif {

/// Any thread.
void set_max_atoms(std::int64_t limit) noexcept;

/// The atom called `utf8`: ok, limit, too_large (more than 255 characters), corrupt (not UTF-8).
/// `env` may be any environment of the calling thread; nothing is left in it.
[[nodiscard]] Status atom_from_utf8(ErlNifEnv* env, std::string_view utf8,
                                    ERL_NIF_TERM* atom) noexcept;

/// The atom if it exists already.
[[nodiscard]] bool existing_atom(ErlNifEnv* env, std::string_view utf8,
                                 ERL_NIF_TERM* atom) noexcept;

}  // namespace penstock::nif
