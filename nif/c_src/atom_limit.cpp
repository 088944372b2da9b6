// SPDX-License-Identifier: Apache-2.0
#include "atom_limit.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "counters.hpp"
#include "penstock/wire.hpp"

namespace penstock::nif {

namespace {

constexpr std::size_t kMaxAtomBytes = 255 * 4;
constexpr std::int64_t kDefaultMaxAtoms = 10'000;

Atomic<std::int64_t>& limit() noexcept {
  static constinit Atomic<std::int64_t> max_atoms{kDefaultMaxAtoms};
  return max_atoms;
}

bool is_ascii(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::size_t characters(std::string_view utf8) noexcept {
  return static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

/// By way of the external term format: before OTP 26 no function of the NIF interface takes UTF-8.
bool through_external(ErlNifEnv* env, std::string_view utf8, bool create,
                      ERL_NIF_TERM* atom) noexcept {
  std::uint8_t bytes[4 + kMaxAtomBytes] = {131, wire::kAtom,
                                           static_cast<std::uint8_t>(utf8.size() >> 8),
                                           static_cast<std::uint8_t>(utf8.size())};
  std::memcpy(bytes + 4, utf8.data(), utf8.size());
  return enif_binary_to_term(env, bytes, 4 + utf8.size(), atom,
                             create ? ErlNifBinaryToTerm{} : ERL_NIF_BIN2TERM_SAFE) != 0;
}

}  // namespace

void set_max_atoms(std::int64_t max_atoms) noexcept { limit().store(max_atoms, order::relaxed); }

bool existing_atom(ErlNifEnv* env, std::string_view utf8, ERL_NIF_TERM* atom) noexcept {
  if (utf8.size() > kMaxAtomBytes) return false;
  if (is_ascii(utf8)) {
    return enif_make_existing_atom_len(env, utf8.data(), utf8.size(), atom, ERL_NIF_LATIN1) != 0;
  }
  return through_external(env, utf8, false, atom);
}

Status atom_from_utf8(ErlNifEnv* env, std::string_view utf8, ERL_NIF_TERM* atom) noexcept {
  if (characters(utf8) > 255) return Status::too_large;
  if (utf8.size() > kMaxAtomBytes) return Status::corrupt;  // More than 4 bytes a character.
  if (existing_atom(env, utf8, atom)) return Status::ok;
  Atomic<std::int64_t>& created = counters().atoms_created;
  if (created.fetch_add(1, order::relaxed) >= limit().load(order::relaxed)) {
    created.fetch_sub(1, order::relaxed);
    return Status::limit;
  }
  if (through_external(env, utf8, true, atom)) return Status::ok;
  created.fetch_sub(1, order::relaxed);
  return Status::corrupt;
}

}  // namespace penstock::nif
