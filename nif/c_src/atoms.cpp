// SPDX-License-Identifier: Apache-2.0
#include "atoms.hpp"

namespace penstock::nif {

void make_atoms(ErlNifEnv* env) noexcept {
  Atoms& table = detail::atom_table;
#define PENSTOCK_MAKE(name) table.name = enif_make_atom(env, #name);
  PENSTOCK_ATOMS(PENSTOCK_MAKE)
#undef PENSTOCK_MAKE
  table.true_ = enif_make_atom(env, "true");
  table.false_ = enif_make_atom(env, "false");
}

}  // namespace penstock::nif
