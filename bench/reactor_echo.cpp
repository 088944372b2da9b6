// SPDX-License-Identifier: Apache-2.0
// Echo over TCP: what a request costs a server on each way to learn of bytes, and to get them. The
// client is a forked process with a closed loop: each connection sends when its answer is complete.
//
//   reactor_echo [ROUNDS [SECONDS]]
//
// Compare processor time per request: it hardly depends on what else the machine does. The ways
// take turns in each round; printed are medians.
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "penstock/io_uring/reactor.hpp"

namespace penstock::io_uring {
namespace {

struct Load {
  int connections;
  std::size_t bytes;
};

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  std::exit(1);
}

int check(int result, const char* what) {
  if (result < 0) give_up(what);
  return result;
}

void pin(int processor) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(processor, &one);
  sched_setaffinity(0, sizeof one, &one);
}

void tune(int fd) {
  const int on = 1;
  const int room = 1 << 20;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
}

// The client
// -----------------------------------------------------------------------------------------

std::vector<int> connect_all(const sockaddr_in& address, int count) {
  std::vector<int> fds;
  for (int i = 0; i < count; ++i) {
    const int fd = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    check(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), "connect");
    tune(fd);
    check(fcntl(fd, F_SETFL, O_NONBLOCK), "fcntl");
    fds.push_back(fd);
  }
  return fds;
}

/// Until the server closes.
[[noreturn]] void ask(const std::vector<int>& fds, std::size_t bytes) {
  const std::vector<char> message(bytes, 'x');
  std::vector<char> room(std::size_t{1} << 18);
  std::vector<std::size_t> sent(fds.size(), 0);
  std::vector<std::size_t> got(fds.size(), 0);
  const int epoll = check(epoll_create1(0), "epoll_create1");
  const auto push = [&](std::size_t i) {
    while (sent[i] < bytes) {
      ssize_t const count = send(fds[i], message.data(), bytes - sent[i], MSG_NOSIGNAL);
      if (count <= 0) return;
      sent[i] += static_cast<std::size_t>(count);
    }
  };
  for (std::size_t i = 0; i < fds.size(); ++i) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLET;
    event.data.u64 = i;
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event), "epoll_ctl");
  }
  epoll_event events[128];
  for (;;) {
    const int count = epoll_wait(epoll, events, 128, -1);
    for (int k = 0; k < count; ++k) {
      std::size_t const i = events[k].data.u64;
      push(i);
      for (;;) {
        const ssize_t read = recv(fds[i], room.data(), room.size(), 0);
        if (read == 0) std::exit(0);
        if (read < 0) {
          if (errno != EAGAIN) std::exit(0);
          break;
        }
        got[i] += static_cast<std::size_t>(read);
        if (got[i] < bytes) continue;
        got[i] = sent[i] = 0;
        push(i);
      }
    }
  }
}

// Servers
// ------------------------------------------------------------------------------------------

struct Figures {
  double requests = 0;  ///< A second.
  double micros = 0;    ///< Of processor time a request.
};

/// Counts what is sent back, and tells when the time is over.
class Stopwatch {
 public:
  explicit Stopwatch(double seconds) : end_(now_ns() + static_cast<std::int64_t>(seconds * 1e9)) {}
  void count(ssize_t bytes) {
    if (bytes > 0) bytes_ += static_cast<std::uint64_t>(bytes);
  }
  [[nodiscard]] std::int64_t end() const { return end_; }
  [[nodiscard]] bool is_over() const { return now_ns() >= end_; }
  [[nodiscard]] Figures figures(std::size_t message) const {
    const double requests = static_cast<double>(bytes_) / static_cast<double>(message);
    const double seconds = static_cast<double>(now_ns() - start_) / 1e9;
    return {requests / seconds, (processor_seconds() - used_before_) * 1e6 / requests};
  }

 private:
  static double processor_seconds() {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    const auto seconds = [](const timeval& it) {
      return static_cast<double>(it.tv_sec) + static_cast<double>(it.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
  }
  std::int64_t const start_ = now_ns();
  std::int64_t const end_;
  const double used_before_ = processor_seconds();
  std::uint64_t bytes_ = 0;
};

/// Room for what is not sent at once is the socket's: no message is larger.
void send_all(int fd, const char* bytes, ssize_t count, Stopwatch& watch) {
  for (ssize_t done = 0; done < count;) {
    const ssize_t sent =
        send(fd, bytes + done, static_cast<std::size_t>(count - done), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) give_up("send");
    if (sent > 0) done += sent;
  }
  watch.count(count);
}

void serve_reactor(const std::vector<int>& fds, Preference preference, Trigger trigger,
                   Stopwatch& watch) {
  const auto reactor = Reactor::create(preference);
  if (reactor == nullptr) give_up("Reactor::create");
  std::vector<int> owners(fds);
  for (int& fd : owners) {
    if (reactor->watch(fd, readable, trigger, &fd) != 0) give_up("watch");
  }
  std::vector<char> room(std::size_t{1} << 18);
  while (!watch.is_over()) {
    reactor->prepare_to_wait();
    const std::span<const Event> events = reactor->wait(watch.end());
    reactor->after_wait();
    for (const Event& event : events) {
      const int fd = *static_cast<int*>(event.owner);
      const ssize_t count = recv(fd, room.data(), room.size(), 0);
      if (count > 0) send_all(fd, room.data(), count, watch);
    }
  }
  for (const int fd : fds) reactor->forget(fd);
}

/// Multishot receive into a ring of buffers; the answer by send(2), or by a request of its own.
void serve_completions(const std::vector<int>& fds, unsigned buffers, std::size_t size,
                       bool ring_sends, Stopwatch& watch) {
  struct ::io_uring ring {};
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE;
  params.cq_entries = 512;
  check(io_uring_queue_init_params(256, &ring, &params), "io_uring_queue_init_params");
  void* const table = mmap(nullptr, buffers * sizeof(io_uring_buf), PROT_READ | PROT_WRITE,
                           MAP_ANONYMOUS | MAP_PRIVATE | MAP_POPULATE, -1, 0);
  auto* const group = static_cast<io_uring_buf_ring*>(table);
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uint64_t>(table);
  registration.ring_entries = buffers;
  check(io_uring_register_buf_ring(&ring, &registration, 0), "io_uring_register_buf_ring");
  io_uring_buf_ring_init(group);
  std::vector<char> memory(buffers * size);
  const auto give_back = [&](unsigned id) {
    io_uring_buf_ring_add(group, memory.data() + id * size, static_cast<unsigned>(size),
                          static_cast<unsigned short>(id), io_uring_buf_ring_mask(buffers), 0);
    io_uring_buf_ring_advance(group, 1);
  };
  for (unsigned id = 0; id < buffers; ++id) give_back(id);
  const auto receive = [&](int fd) {
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
    io_uring_prep_recv_multishot(sqe, fd, nullptr, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
    sqe->user_data = static_cast<std::uint64_t>(fd);
  };
  for (const int fd : fds) receive(fd);
  std::vector<int> again;
  while (!watch.is_over()) {
    __kernel_timespec timeout{0, 100'000'000};
    io_uring_cqe* first = nullptr;
    io_uring_submit_and_wait_timeout(&ring, &first, 1, &timeout, nullptr);
    unsigned head = 0;
    unsigned seen = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring, head, cqe) {
      ++seen;
      std::uint64_t const tag = cqe->user_data;
      if (tag >> 32 != 0) {  // A send: its buffer is free.
        watch.count(cqe->res);
        give_back(static_cast<unsigned>(tag >> 32) - 1);
        continue;
      }
      const int fd = static_cast<int>(tag);
      if ((cqe->flags & IORING_CQE_F_MORE) == 0) again.push_back(fd);
      if (cqe->res <= 0) continue;
      const unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
      if (!ring_sends) {
        send_all(fd, memory.data() + id * size, cqe->res, watch);
        give_back(id);
        continue;
      }
      io_uring_sqe* sqe = io_uring_get_sqe(&ring);
      if (sqe == nullptr) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
      }
      io_uring_prep_send(sqe, fd, memory.data() + id * size, static_cast<std::size_t>(cqe->res),
                         MSG_WAITALL | MSG_NOSIGNAL);
      sqe->user_data = std::uint64_t{id + 1} << 32;
    }
    io_uring_cq_advance(&ring, seen);
    for (const int fd : again) receive(fd);
    again.clear();
  }
  io_uring_queue_exit(&ring);
  munmap(table, buffers * sizeof(io_uring_buf));
}

struct Way {
  const char* name;
  std::function<void(const std::vector<int>&, Stopwatch&)> serve;
};

const std::vector<Way>& ways() {
  using Fds = std::vector<int>;
  static const std::vector<Way> all = {
      {"epoll, edge",
       [](const Fds& fds, Stopwatch& it) {
         serve_reactor(fds, Preference::epoll, Trigger::edge, it);
       }},
      {"epoll, level",
       [](const Fds& fds, Stopwatch& it) {
         serve_reactor(fds, Preference::epoll, Trigger::level, it);
       }},
      {"io_uring, edge",
       [](const Fds& fds, Stopwatch& it) {
         serve_reactor(fds, Preference::io_uring, Trigger::edge, it);
       }},
      {"io_uring, level",
       [](const Fds& fds, Stopwatch& it) {
         serve_reactor(fds, Preference::io_uring, Trigger::level, it);
       }},
      {"receive 16 x 64 KiB, send(2)",
       [](const Fds& fds, Stopwatch& it) { serve_completions(fds, 16, 65'536, false, it); }},
      {"receive 64 x 128 KiB, send(2)",
       [](const Fds& fds, Stopwatch& it) { serve_completions(fds, 64, 131'072, false, it); }},
      {"receive 64 x 128 KiB, ring send",
       [](const Fds& fds, Stopwatch& it) { serve_completions(fds, 64, 131'072, true, it); }},
  };
  return all;
}

Figures measure(const Way& way, const Load& load, double seconds) {
  const int listener = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  check(bind(listener, reinterpret_cast<sockaddr*>(&address), size), "bind");
  check(listen(listener, 256), "listen");
  check(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
  const pid_t client = check(fork(), "fork");
  if (client == 0) {
    pin(1);
    ask(connect_all(address, load.connections), load.bytes);
  }
  std::vector<int> fds;
  for (int i = 0; i < load.connections; ++i) {
    fds.push_back(check(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK), "accept4"));
    tune(fds.back());
  }
  Stopwatch watch(seconds);
  way.serve(fds, watch);
  const Figures figures = watch.figures(load.bytes);
  for (const int fd : fds) close(fd);
  close(listener);
  kill(client, SIGKILL);
  waitpid(client, nullptr, 0);
  return figures;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void compare(const Load& load, int rounds, double seconds) {
  std::vector<std::vector<double>> requests(ways().size());
  std::vector<std::vector<double>> micros(ways().size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < ways().size(); ++i) {
      const Figures figures = measure(ways()[i], load, seconds);
      requests[i].push_back(figures.requests);
      micros[i].push_back(figures.micros);
    }
  }
  std::printf("%d x %zu bytes\n", load.connections, load.bytes);
  for (std::size_t i = 0; i < ways().size(); ++i) {
    std::printf("  %-32s %8.0f /s  %7.2f us, best %7.2f us  %5.2f of the first\n", ways()[i].name,
                median(requests[i]), median(micros[i]),
                *std::min_element(micros[i].begin(), micros[i].end()),
                median(micros[i]) / median(micros[0]));
  }
  std::fflush(stdout);
}

}  // namespace
}  // namespace penstock::io_uring

int main(int argc, char** argv) {
  using penstock::io_uring::Load;
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 9;
  const double seconds = argc > 2 ? std::atof(argv[2]) : 0.5;
  std::signal(SIGPIPE, SIG_IGN);
  penstock::io_uring::pin(0);
  for (const Load& load : {Load{1, 1024}, Load{10, 1024}, Load{100, 1024}, Load{10, 102'400}}) {
    penstock::io_uring::compare(load, rounds, seconds);
  }
}
