// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "fd.hpp"
#include "penstock/io_uring/reactor.hpp"
#include "support.hpp"
#include "uring_reactor.hpp"

/// What the tests of reactors share: each runs on every backend.
namespace penstock::io_uring::test {

using penstock::test::deadline;
using penstock::test::scaled;

/// A backend; of io_uring in each of its modes.
enum class Kind { epoll, io_uring, cooperative, plain };

/// Of this process so far. The kernel puts a ring away after it was closed, in its own time, and
/// interrupts a wait of the thread that had it.
inline int rings = 0;

inline std::unique_ptr<Reactor> make(Kind kind) {
  if (kind != Kind::epoll) ++rings;
  if (kind == Kind::epoll) return Reactor::create(Preference::epoll);
  if (kind == Kind::io_uring) return Reactor::create(Preference::io_uring);
  const auto mode = kind == Kind::plain ? Ring::Mode::plain : Ring::Mode::cooperative;
  return UringReactor::create({.best = mode});
}

/// Two connected sockets that do not block.
struct Pair {
  explicit Pair(int type = SOCK_STREAM) {
    int ends[2] = {-1, -1};
    if (socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    ours = Fd(ends[0]);
    peer = Fd(ends[1]);
  }
  void put(const std::string& bytes = "x") const {
    ASSERT_EQ(write(peer.get(), bytes.data(), bytes.size()), std::ssize(bytes));
  }
  /// What is there to be read; empty: nothing, or the end.
  [[nodiscard]] std::string take(std::size_t most = 65536) const {
    std::string bytes(most, '\0');
    const ssize_t count = read(ours.get(), bytes.data(), most);
    bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return bytes;
  }
  /// Writes until there is no room.
  void fill() const {
    const char block[4096] = {};
    while (write(ours.get(), block, sizeof block) > 0) continue;
  }
  void drain_peer() const {
    char block[65536];
    while (read(peer.get(), block, sizeof block) > 0) continue;
  }
  Fd ours;
  Fd peer;
};

/// Whether check() says so, and nothing failed, in a forked child.
template <class Check>
bool in_child(Check check) {
  const bool failed_before = testing::Test::HasFailure();
  std::fflush(nullptr);  // Else what is in the buffers is printed twice.
  const pid_t child = fork();
  if (child == 0) {
    const bool passed = check() && (failed_before || !testing::Test::HasFailure());
    std::fflush(nullptr);
    _exit(passed ? 0 : 1);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/// Fixture of a test that runs on every backend.
class OnEach : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    ASSERT_NE(reactor, nullptr);
    ASSERT_EQ(reactor->backend(), expected());
  }
  [[nodiscard]] static Backend expected() {
    return GetParam() == Kind::epoll ? Backend::epoll : Backend::io_uring;
  }

  /// One wait as a loop does it, for a short time if nothing happens.
  std::span<const Event> wait(std::int64_t patience_ns = 20'000'000) {
    reactor->prepare_to_wait();
    const std::span<const Event> events = reactor->wait(now_ns() + patience_ns);
    reactor->after_wait();
    return events;
  }
  /// What is reported of `owner`, for as long as it takes; a wait may return for no reason.
  Interest next(const void* owner) {
    std::int64_t const until = deadline();
    while (now_ns() < until) {
      for (const Event& event : wait(1'000'000'000)) {
        if (event.owner == owner) return event.what;
      }
    }
    ADD_FAILURE() << "nothing was reported";
    return 0;
  }
  /// That nothing is reported, and that a wait lasts, but for a few turns; who turns round and
  /// round does so thousands of times.
  void expect_silence() {
    EXPECT_TRUE(reactor->poll().empty());
    int turns = 0;
    for (std::int64_t const until = now_ns() + 10'000'000; now_ns() < until; ++turns) {
      reactor->prepare_to_wait();
      EXPECT_TRUE(reactor->wait(until).empty());
      reactor->after_wait();
    }
    EXPECT_LT(turns, 10 + rings);
  }

  std::unique_ptr<Reactor> reactor = make(GetParam());
  /// Owners are told apart by their addresses.
  int owners[4] = {};
};

inline std::string name_of(const testing::TestParamInfo<Kind>& info) {
  constexpr const char* names[] = {"epoll", "io_uring", "cooperative", "plain"};
  return names[static_cast<int>(info.param)];
}

#define PENSTOCK_ON_EACH_BACKEND(suite)                                                 \
  INSTANTIATE_TEST_SUITE_P(Each, suite,                                                 \
                           testing::Values(test::Kind::epoll, test::Kind::io_uring,     \
                                           test::Kind::cooperative, test::Kind::plain), \
                           penstock::io_uring::test::name_of)

}  // namespace penstock::io_uring::test
