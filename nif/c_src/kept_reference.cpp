// SPDX-License-Identifier: Apache-2.0
#include "kept_reference.hpp"

#include <new>

#include "per_thread.hpp"

namespace penstock::nif {

namespace {

/// What a thread adds to.
struct Newest {
  Ref<KeptTerms> terms;
};

}  // namespace

KeptReference::KeptReference(ERL_NIF_TERM reference) {
  Ref<KeptTerms>& newest = per_thread<Newest>().terms;
  if (!newest || newest->is_full()) newest = Ref<KeptTerms>::steal(new KeptTerms);
  among_ = newest;
  term_ = among_->add(reference);
}

}  // namespace penstock::nif
