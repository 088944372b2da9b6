// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <erl_nif.h>

#include <cstdint>
#include <system_error>

#include "penstock/domain.hpp"
#include "penstock/portable.hpp"

namespace penstock::nif {

/// What the VM's shared channels belong to.
struct VmDomain {
  const std::uint64_t pid;  // Some local pid's word.
  const Ref<Domain> domain;
  wire::ValuePorter porter;
};

/// The only one; made by the first call, lives as long as the OS process. `pid`: the word of any
/// local pid. Throws system_error or bad_alloc.
[[nodiscard]] VmDomain& vm_domain(std::uint64_t pid);
/// nullptr: not yet. Edge N6: vm_domain(), release -> acquire: the domain is there.
[[nodiscard]] const VmDomain* vm_domain_if_any() noexcept;

/// Why something shared could not be made: enospc, there is no memory for its pages; efbig, it is
/// larger than RLIMIT_FSIZE; system_limit, there are no descriptors; else enomem.
[[nodiscard]] ERL_NIF_TERM reason_of(const std::system_error& error) noexcept;

/// A worker process's number in the VM's domain. Not to go before the process is dead.
class Membership {
 public:
  /// The number is 0 if there are none left: then it shares no channels.
  explicit Membership(VmDomain& of) noexcept
      : domain_(of.domain), number_(of.domain->admit().value_or(0)) {}
  ~Membership() {
    if (number_ != 0) domain_->ended(number_);
  }
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;
  [[nodiscard]] unsigned number() const noexcept { return number_; }

 private:
  const Ref<Domain> domain_;
  const unsigned number_;
};

}  // namespace penstock::nif
