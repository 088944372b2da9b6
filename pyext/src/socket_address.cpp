// SPDX-License-Identifier: Apache-2.0
#include "socket_address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

namespace penstock::python {

namespace {

template <class Address>
Address as(const sockaddr_storage& address) noexcept {
  Address result;
  std::memcpy(&result, &address, sizeof result);
  return result;
}

PyRef from_ipv4(const sockaddr_in& address) {
  char text[INET_ADDRSTRLEN];
  if (inet_ntop(AF_INET, &address.sin_addr, text, sizeof text) == nullptr) {
    return PyRef::steal(PyErr_SetFromErrno(PyExc_OSError));
  }
  return PyRef::steal(Py_BuildValue("si", text, static_cast<int>(ntohs(address.sin_port))));
}

PyRef from_ipv6(const sockaddr_in6& address) {
  char text[INET6_ADDRSTRLEN];
  if (inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof text) == nullptr) {
    return PyRef::steal(PyErr_SetFromErrno(PyExc_OSError));
  }
  return PyRef::steal(Py_BuildValue("siII", text, static_cast<int>(ntohs(address.sin6_port)),
                                    static_cast<unsigned>(ntohl(address.sin6_flowinfo)),
                                    static_cast<unsigned>(address.sin6_scope_id)));
}

PyRef from_unix(const sockaddr_un& address, socklen_t length) {
  std::size_t const in_front = offsetof(sockaddr_un, sun_path);
  std::size_t const size = length > in_front ? length - in_front : 0;
  // Linux's abstract ones are any bytes behind a zero.
  if (size > 0 && address.sun_path[0] == 0) {
    return PyRef::steal(PyBytes_FromStringAndSize(address.sun_path, static_cast<Py_ssize_t>(size)));
  }
  return PyRef::steal(PyUnicode_DecodeFSDefaultAndSize(
      address.sun_path, static_cast<Py_ssize_t>(strnlen(address.sun_path, size))));
}

}  // namespace

PyRef address_from(const sockaddr_storage& address, socklen_t length) {
  if (length == 0) return PyRef::borrow(Py_None);
  switch (address.ss_family) {
    case AF_INET:
      return from_ipv4(as<sockaddr_in>(address));
    case AF_INET6:
      return from_ipv6(as<sockaddr_in6>(address));
    case AF_UNIX:
      return from_unix(as<sockaddr_un>(address), length);
    default:
      PyErr_SetString(PyExc_NotImplementedError, "addresses of this family");
      return {};
  }
}

}  // namespace penstock::python
