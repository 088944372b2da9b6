// SPDX-License-Identifier: Apache-2.0
// What can a server that sends back what it gets reach at all on one processor, without Python?
//
//   echo_server FOLDER
//
// A plain epoll loop, one read and one write for each event. Prints a line of JSON with its TCP
// port and the path of its unix socket, under the names that loop_server.py gives to protocols;
// ends when its standard input does.

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

int listening_at(const sockaddr* address, socklen_t length) {
  const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, address, length) != 0 || listen(fd, 256) != 0) {
    fail("listen");
  }
  return fd;
}

int listening_tcp(int& port) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = listening_at(reinterpret_cast<sockaddr*>(&name), sizeof(name));
  socklen_t length = sizeof(name);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0) {
    fail("getsockname");
  }
  port = ntohs(name.sin_port);
  return fd;
}

int listening_unix(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::strncpy(name.sun_path, path.c_str(), sizeof(name.sun_path) - 1);
  return listening_at(reinterpret_cast<sockaddr*>(&name), sizeof(name));
}

void watch(int poll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) != 0) {
    fail("epoll_ctl");
  }
}

void accept_one(int poll, int listener) {
  const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) {
    return;  // The client has left again.
  }
  const int on = 1;
  // A unix socket has no such option, and no such delay.
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  watch(poll, fd);
}

/// Blocks while the client's side is full; the client reads whenever it cannot write.
void answer(int fd, std::vector<char>& scratch) {
  const ssize_t count = recv(fd, scratch.data(), scratch.size(), 0);
  if (count <= 0) {
    close(fd);
    return;
  }
  for (ssize_t sent = 0; sent < count;) {
    const ssize_t more =
        send(fd, scratch.data() + sent, static_cast<std::size_t>(count - sent), MSG_NOSIGNAL);
    if (more < 0) {
      close(fd);
      return;
    }
    sent += more;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("echo_server FOLDER\n", stderr);
    return 2;
  }
  const std::string path = std::string(argv[1]) + "/socket";
  int port = 0;
  const int tcp = listening_tcp(port);
  const int local = listening_unix(path);
  const int poll = epoll_create1(EPOLL_CLOEXEC);
  for (const int fd : {tcp, local, STDIN_FILENO}) {
    watch(poll, fd);
  }
  std::printf("{\"tcp_protocol\": \"%d\", \"unix_protocol\": \"%s\"}\n", port, path.c_str());
  std::fflush(stdout);
  std::vector<char> scratch(1U << 18U);
  std::array<epoll_event, 128> events{};
  while (true) {
    const int count = epoll_wait(poll, events.data(), static_cast<int>(events.size()), -1);
    if (count < 0 && errno != EINTR) {
      fail("epoll_wait");
    }
    for (int at = 0; at < count; ++at) {
      const int fd = events[static_cast<std::size_t>(at)].data.fd;
      if (fd == STDIN_FILENO) {
        return 0;
      }
      if (fd == tcp || fd == local) {
        accept_one(poll, fd);
      } else {
        answer(fd, scratch);
      }
    }
  }
}
