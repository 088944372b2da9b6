// SPDX-License-Identifier: Apache-2.0
// How fast does a server send back what it is sent?
//
//   echo_client ADDRESS CONNECTIONS BYTES SECONDS
//
// ADDRESS is a port of 127.0.0.1, or the path of a unix socket. Every connection sends a message of
// BYTES, waits until as many have come back, and sends the next: as many requests are under way as
// there are connections. A tenth of SECONDS more before them warms up and is not counted. Prints
// requests per second, and the 50th and 99th percentile of their latency in microseconds.

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

int connected_to(const std::string& address) {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const bool is_unix = address.find('/') != std::string::npos;
  if (is_unix) {
    auto& name = reinterpret_cast<sockaddr_un&>(storage);
    name.sun_family = AF_UNIX;
    std::strncpy(name.sun_path, address.c_str(), sizeof(name.sun_path) - 1);
    length = sizeof(name);
  } else {
    auto& name = reinterpret_cast<sockaddr_in&>(storage);
    name.sin_family = AF_INET;
    name.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address)));
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    length = sizeof(name);
  }
  const int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, reinterpret_cast<sockaddr*>(&storage), length) != 0) {
    fail("connect");
  }
  const int on = 1;
  if (!is_unix && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0) {
    fail("TCP_NODELAY");
  }
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
    fail("O_NONBLOCK");
  }
  return fd;
}

/// One connection and the message that is under way on it.
class Connection {
 public:
  Connection(int poll, const std::string& address, const std::vector<char>& message)
      : poll_(poll), fd_(connected_to(address)), message_(message) {
    watch(EPOLL_CTL_ADD, EPOLLIN);
  }

  void start() {
    sent_ = received_ = 0;
    since_ = Clock::now();
    send_more();
  }

  void send_more() {
    const ssize_t count = send(fd_, message_.data() + sent_, message_.size() - sent_, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) {
      fail("send");
    }
    sent_ += count < 0 ? 0 : static_cast<std::size_t>(count);
    const bool is_stuck = sent_ < message_.size();
    if (is_stuck != wants_room_) {
      wants_room_ = is_stuck;
      watch(EPOLL_CTL_MOD, is_stuck ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
  }

  /// True when all has come back.
  [[nodiscard]] bool receive(std::vector<char>& scratch) {
    const ssize_t count = recv(fd_, scratch.data(), scratch.size(), 0);
    if (count == 0) {
      errno = ECONNRESET;
    }
    if (count == 0 || (count < 0 && errno != EAGAIN)) {
      fail("recv");
    }
    received_ += count < 0 ? 0 : static_cast<std::size_t>(count);
    if (received_ > sent_) {
      std::fputs("more came back than was sent\n", stderr);
      std::exit(1);
    }
    return received_ == message_.size();
  }

  [[nodiscard]] Clock::time_point since() const { return since_; }

 private:
  void watch(int operation, unsigned interest) {
    epoll_event event{};
    event.events = interest;
    event.data.ptr = this;
    if (epoll_ctl(poll_, operation, fd_, &event) != 0) {
      fail("epoll_ctl");
    }
  }

  int poll_;
  int fd_;
  const std::vector<char>& message_;
  std::size_t sent_ = 0;
  std::size_t received_ = 0;
  bool wants_room_ = false;
  Clock::time_point since_;
};

/// Latencies in microseconds of the requests that ended after the warm-up. Ends when all that was
/// sent has come back: a server that is cut off would have other things to do than the next row.
std::vector<double> exchange(int poll, std::vector<Connection>& connections, double seconds) {
  std::vector<double> latencies;
  std::vector<char> scratch(1U << 18U);
  std::array<epoll_event, 128> events{};
  const auto begin = Clock::now() + std::chrono::duration<double>(seconds / 10);
  const auto end = begin + std::chrono::duration<double>(seconds);
  for (auto& connection : connections) {
    connection.start();
  }
  for (std::size_t under_way = connections.size(); under_way > 0;) {
    const int count = epoll_wait(poll, events.data(), static_cast<int>(events.size()), 10'000);
    if (count < 0 && errno == EINTR) {
      continue;  // The machine was stopped for a while.
    }
    if (count <= 0) {
      errno = count == 0 ? ETIMEDOUT : errno;
      fail("epoll_wait");
    }
    for (int at = 0; at < count; ++at) {
      const auto& event = events[static_cast<std::size_t>(at)];
      auto& connection = *static_cast<Connection*>(event.data.ptr);
      if ((event.events & EPOLLOUT) != 0) {
        connection.send_more();
      }
      if ((event.events & ~static_cast<unsigned>(EPOLLOUT)) == 0 || !connection.receive(scratch)) {
        continue;
      }
      const auto now = Clock::now();
      if (now >= end) {
        --under_way;
        continue;
      }
      if (now >= begin) {
        latencies.push_back(
            std::chrono::duration<double, std::micro>(now - connection.since()).count());
      }
      connection.start();
    }
  }
  return latencies;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("echo_client ADDRESS CONNECTIONS BYTES SECONDS\n", stderr);
    return 2;
  }
  const std::string address = argv[1];
  const std::vector<char> message(std::stoul(argv[3]), 'x');
  const double seconds = std::stod(argv[4]);
  const int poll = epoll_create1(EPOLL_CLOEXEC);
  std::vector<Connection> connections;
  connections.reserve(std::stoul(argv[2]));  // Their addresses are the kernel's.
  while (connections.size() < connections.capacity()) {
    connections.emplace_back(poll, address, message);
  }
  auto latencies = exchange(poll, connections, seconds);
  if (latencies.empty()) {
    std::fputs("not one request ended\n", stderr);
    return 1;
  }
  std::sort(latencies.begin(), latencies.end());
  const auto count = latencies.size();
  std::printf("%.1f %.1f %.1f\n", static_cast<double>(count) / seconds, latencies[count / 2],
              latencies[count * 99 / 100]);
  return 0;
}
