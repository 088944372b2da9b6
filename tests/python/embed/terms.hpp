// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "penstock/message.hpp"

namespace penstock::test {

/// A term in wire form as Erlang would print it, near enough: lists of characters as "text",
/// binaries as <<"text">>, pids as <pid>, atoms bare.
[[nodiscard]] std::string text_of(std::span<const std::uint8_t> wire);

}  // namespace penstock::test
