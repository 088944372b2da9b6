// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include "ref.hpp"

namespace penstock::python {

/// An address as Python's socket module shows it, None if there is none. Empty: an exception is
/// set; NotImplementedError for a family other than AF_INET, AF_INET6 and AF_UNIX.
[[nodiscard]] PyRef address_from(const sockaddr_storage& address, socklen_t length);

}  // namespace penstock::python
