// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include "atoms.hpp"
#include "guard.hpp"
#include "nifs.hpp"

/// Descriptors to try event loops with. None of these waits: all descriptors are non-blocking.
namespace penstock::nif {

namespace {

constexpr unsigned kMaxBytes = 1024 * 1024;

int get_fd(ErlNifEnv* env, ERL_NIF_TERM term) {
  int fd{};
  if (enif_get_int(env, term, &fd) == 0) throw BadArg();
  return fd;
}

ErlNifBinary get_bytes(ErlNifEnv* env, ERL_NIF_TERM term) {
  ErlNifBinary binary{};
  if (enif_inspect_binary(env, term, &binary) == 0) throw BadArg();
  return binary;
}

ERL_NIF_TERM make_bytes(ErlNifEnv* env, const void* bytes, std::size_t size) {
  ERL_NIF_TERM term{};
  unsigned char* const room = enif_make_new_binary(env, size, &term);
  std::copy_n(static_cast<const unsigned char*>(bytes), size, room);
  return term;
}

/// `ok`, {error, would_block} or {error, Otherwise}.
ERL_NIF_TERM outcome(ErlNifEnv* env, bool is_ok, ERL_NIF_TERM otherwise) noexcept {
  if (is_ok) return atoms().ok;
  return make_error(env, errno == EAGAIN ? atoms().would_block : otherwise);
}

/// Closed unless it is given away.
class NewFd {
 public:
  explicit NewFd(int fd) noexcept : fd_(fd) {}
  ~NewFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  NewFd(const NewFd&) = delete;
  NewFd& operator=(const NewFd&) = delete;
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int take() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// False: {error, invalid_address}.
bool get_address(ErlNifEnv* env, ERL_NIF_TERM host, ERL_NIF_TERM port, sockaddr_in& address) {
  const ErlNifBinary text = get_bytes(env, host);
  unsigned number{};
  if (enif_get_uint(env, port, &number) == 0 || number > 65535) return false;
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(number));
  const std::string name(reinterpret_cast<const char*>(text.data), text.size);
  return ::inet_pton(AF_INET, name.c_str(), &address.sin_addr) == 1;
}

/// A socket of 127.0.0.1: {ok, {Fd, Port}}.
ERL_NIF_TERM bound_socket(ErlNifEnv* env, ERL_NIF_TERM port, int type) {
  unsigned number{};
  if (enif_get_uint(env, port, &number) == 0 || number > 65535) throw BadArg();
  NewFd fd(::socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(number));
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  const int one = 1;
  if (fd.get() < 0 || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
      ::bind(fd.get(), generic, size) != 0 ||
      (type == SOCK_STREAM && ::listen(fd.get(), SOMAXCONN) != 0) ||
      ::getsockname(fd.get(), generic, &size) != 0) {
    return make_error(env, atoms().socket_failed);
  }
  return make_ok(env, enif_make_tuple2(env, enif_make_int(env, fd.take()),
                                       enif_make_uint(env, ntohs(address.sin_port))));
}

}  // namespace

ERL_NIF_TERM create_test_pipe(ErlNifEnv* env, const ERL_NIF_TERM* /*argv*/) {
  int ends[2];
  if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return make_error(env, atoms().pipe_failed);
  return make_ok(env,
                 enif_make_tuple2(env, enif_make_int(env, ends[0]), enif_make_int(env, ends[1])));
}

ERL_NIF_TERM write_test_fd(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const int fd = get_fd(env, argv[0]);
  const ErlNifBinary bytes = get_bytes(env, argv[1]);
  const auto written = ::write(fd, bytes.data, bytes.size);
  return outcome(env, written == static_cast<ssize_t>(bytes.size), atoms().write_failed);
}

ERL_NIF_TERM read_test_fd(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const int fd = get_fd(env, argv[0]);
  unsigned max{};
  if (enif_get_uint(env, argv[1], &max) == 0 || max > kMaxBytes) throw BadArg();
  std::string room(max, '\0');
  const auto size = ::read(fd, room.data(), room.size());
  if (size < 0) return outcome(env, false, atoms().read_failed);
  return make_ok(env, make_bytes(env, room.data(), static_cast<std::size_t>(size)));
}

ERL_NIF_TERM close_test_fd(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return ::close(get_fd(env, argv[0])) == 0 ? atoms().ok : make_error(env, atoms().close_failed);
}

ERL_NIF_TERM create_test_tcp_listener(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return bound_socket(env, argv[0], SOCK_STREAM);
}

ERL_NIF_TERM create_test_udp_socket(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  return bound_socket(env, argv[0], SOCK_DGRAM);
}

ERL_NIF_TERM accept_test_tcp(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const int fd = ::accept4(get_fd(env, argv[0]), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return outcome(env, false, atoms().accept_failed);
  return make_ok(env, enif_make_int(env, fd));
}

ERL_NIF_TERM connect_test_tcp(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  sockaddr_in address{};
  if (!get_address(env, argv[0], argv[1], address)) return make_error(env, atoms().invalid_address);
  NewFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return make_error(env, atoms().socket_failed);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno != EINPROGRESS) {
    return make_error(env, atoms().connect_failed);
  }
  return make_ok(env, enif_make_int(env, fd.take()));
}

ERL_NIF_TERM sendto_test_udp(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const int fd = get_fd(env, argv[0]);
  const ErlNifBinary bytes = get_bytes(env, argv[1]);
  sockaddr_in address{};
  if (!get_address(env, argv[2], argv[3], address)) return make_error(env, atoms().invalid_address);
  const auto sent = ::sendto(fd, bytes.data, bytes.size, 0,
                             reinterpret_cast<const sockaddr*>(&address), sizeof address);
  return outcome(env, sent == static_cast<ssize_t>(bytes.size), atoms().sendto_failed);
}

ERL_NIF_TERM recvfrom_test_udp(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const int fd = get_fd(env, argv[0]);
  unsigned max{};
  if (enif_get_uint(env, argv[1], &max) == 0 || max > kMaxBytes) throw BadArg();
  std::string room(max, '\0');
  sockaddr_in address{};
  socklen_t length = sizeof address;
  const auto size =
      ::recvfrom(fd, room.data(), room.size(), 0, reinterpret_cast<sockaddr*>(&address), &length);
  if (size < 0) return outcome(env, false, atoms().recvfrom_failed);
  char host[INET_ADDRSTRLEN] = "";
  (void)::inet_ntop(AF_INET, &address.sin_addr, host, sizeof host);
  const ERL_NIF_TERM from =
      enif_make_tuple2(env, make_bytes(env, host, std::string_view(host).size()),
                       enif_make_uint(env, ntohs(address.sin_port)));
  return make_ok(env, enif_make_tuple2(
                          env, make_bytes(env, room.data(), static_cast<std::size_t>(size)), from));
}

ERL_NIF_TERM set_udp_broadcast(ErlNifEnv* env, const ERL_NIF_TERM* argv) {
  const int fd = get_fd(env, argv[0]);
  int on{};
  if (argv[1] == atoms().true_ || argv[1] == atoms().false_) {
    on = argv[1] == atoms().true_ ? 1 : 0;
  } else if (enif_get_int(env, argv[1], &on) == 0 || on < 0 || on > 1) {
    throw BadArg();
  }
  const bool is_set = ::setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on) == 0;
  return is_set ? atoms().ok : make_error(env, atoms().setsockopt_failed);
}

}  // namespace penstock::nif
