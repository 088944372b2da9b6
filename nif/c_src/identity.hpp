// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include "penstock/ref.hpp"
#include "resource.hpp"

/// How Erlang's references to core objects are found again when the objects come back from Python.
namespace penstock::nif {

/// Remembers that `reference` is how Erlang knows `object`, before that goes where only the core
/// object is known. False when memory ran out. Cheap from the second call on.
[[nodiscard]] bool remember_reference(ErlNifEnv* env, ERL_NIF_TERM reference,
                                      Addressable& object) noexcept;

using IsReferenceTo = bool (*)(ErlNifEnv* env, ERL_NIF_TERM term, const Addressable& object);
using MakeReference = ERL_NIF_TERM (*)(ErlNifEnv* env, Addressable& object);

/// Erlang's reference to `object`: the very same as before while Erlang still has it, else a new
/// one. Throws bad_alloc.
[[nodiscard]] ERL_NIF_TERM reference_to(ErlNifEnv* env, Addressable& object,
                                        IsReferenceTo is_reference_to,
                                        MakeReference make_reference);

/// The same for an object that is known by resources of type R.
template <class R>
[[nodiscard]] ERL_NIF_TERM reference_to(ErlNifEnv* env, typename R::Core& object) {
  using Core = typename R::Core;
  return reference_to(
      env, object,
      [](ErlNifEnv* in, ERL_NIF_TERM term, const Addressable& sought) {
        const R* const found = Resource<R>::get(in, term);
        return found != nullptr && &found->core() == &sought;
      },
      [](ErlNifEnv* in, Addressable& made_for) {
        return Resource<R>::make(Ref<Core>::borrow(&static_cast<Core&>(made_for))).term(in);
      });
}

}  // namespace penstock::nif
