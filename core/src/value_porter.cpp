// SPDX-License-Identifier: Apache-2.0
#include "penstock/host.hpp"
#include "penstock/portable.hpp"

namespace penstock::wire {

std::size_t ValuePorter::atom_name(std::uint64_t word, std::span<char> name, bool* ok) noexcept {
  Host* const known_by = host();
  *ok = false;
  return known_by != nullptr ? known_by->atom_name(word, name, ok) : 0;
}

Status ValuePorter::token_of(HandleKind /*kind*/, Object& /*object*/,
                             std::uint64_t* /*token*/) noexcept {
  return Status::not_shared;
}

Status ValuePorter::object_of(HandleKind /*kind*/, std::uint64_t /*token*/,
                              Ref<Object>* /*object*/) noexcept {
  return Status::corrupt;
}

bool ValuePorter::is_pid(std::uint64_t word) noexcept {
  return pid_ == 0 || is_pid_like(word, pid_);
}

}  // namespace penstock::wire
