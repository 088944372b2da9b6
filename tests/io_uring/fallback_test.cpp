// SPDX-License-Identifier: Apache-2.0
// Where io_uring is refused: by filters of system calls, limits, and users' rights. Each case is a
// forked child, because a filter is for life.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cstddef>
#include <vector>

#include "reactor_case.hpp"

namespace penstock::io_uring {
namespace {

using test::in_child;
using test::Pair;

constexpr unsigned kSetUp = __NR_io_uring_setup;
constexpr unsigned kEnter = __NR_io_uring_enter;
constexpr unsigned kRegister = __NR_io_uring_register;

/// Refuses these system calls with `error` from here on.
bool refuse(std::initializer_list<unsigned> calls, int error) {
  std::vector<sock_filter> program = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const unsigned call : calls) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/// What a loop asks of it, in small.
bool serves(Reactor& reactor) {
  const Pair pairs[2];
  int owners[2] = {};
  if (reactor.watch(pairs[0].ours.get(), readable, Trigger::level, &owners[0]) != 0) return false;
  if (reactor.watch(pairs[1].ours.get(), readable, Trigger::edge, &owners[1]) != 0) return false;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 2; ++i) {
      pairs[i].put();
      reactor.prepare_to_wait();
      const std::span<const Event> events = reactor.wait(test::deadline());
      reactor.after_wait();
      if (events.size() != 1 || events[0].owner != &owners[i]) return false;
      if (pairs[i].take() != "x") return false;
    }
    std::int64_t const until = now_ns() + 1'000'000;
    reactor.prepare_to_wait();
    for (int turns = 0; now_ns() < until; ++turns) {
      if (turns == 10 || !reactor.wait(until).empty()) return false;
    }
    reactor.wake();
    if (!reactor.wait(test::deadline()).empty()) return false;
    reactor.after_wait();
  }
  for (const Pair& pair : pairs) reactor.forget(pair.ours.get());
  return true;
}

/// That only epoll works here, and what those learn who insist on io_uring.
bool falls_back(int error) {
  errno = 0;
  if (Reactor::create(Preference::io_uring) != nullptr || errno != error) return false;
  const std::unique_ptr<Reactor> reactor = Reactor::create(Preference::automatic);
  return reactor != nullptr && reactor->backend() == Backend::epoll && serves(*reactor);
}

TEST(Fallback, AutomaticIsIoUringHere) {
  const std::unique_ptr<Reactor> reactor = Reactor::create(Preference::automatic);
  ASSERT_NE(reactor, nullptr);
  EXPECT_EQ(reactor->backend(), Backend::io_uring);
  EXPECT_TRUE(serves(*reactor));
}

TEST(Fallback, FilterOfSystemCalls) {
  for (const int error : {ENOSYS, EPERM, EACCES}) {
    EXPECT_TRUE(in_child([&] {
      return refuse({kSetUp, kEnter, kRegister}, error) && falls_back(error);
    })) << error;
  }
}

/// The kernel would make a ring, but not let it be used.
TEST(Fallback, FilterOfSomeSystemCalls) {
  for (const unsigned call : {kSetUp, kEnter, kRegister}) {
    EXPECT_TRUE(in_child([&] { return refuse({call}, EPERM) && falls_back(EPERM); })) << call;
  }
}

/// With epoll_pwait2 refused too, as by filters that are older than it: sleeps become longer, not
/// shorter.
TEST(Fallback, OldFilter) {
  for (const int error : {ENOSYS, EPERM}) {
    EXPECT_TRUE(in_child([&] {
      return refuse({kSetUp, kEnter, kRegister, __NR_epoll_pwait2}, error) && falls_back(error);
    })) << error;
  }
}

/// A program that gives up rights once it runs, with a loop in use and with one that is not.
TEST(Fallback, FilterThatComesLater) {
  for (const unsigned call : {kSetUp, kEnter}) {
    EXPECT_TRUE(in_child([&] {
      const auto used = Reactor::create(Preference::io_uring);
      const auto unused = Reactor::create(Preference::io_uring);
      const Pair pair;
      int owner = 0;
      if (used == nullptr || unused == nullptr || !serves(*used)) return false;
      if (used->watch(pair.ours.get(), readable, Trigger::edge, &owner) != 0) return false;
      if (!used->poll().empty() || !refuse({call}, EPERM)) return false;
      pair.put();
      used->prepare_to_wait();
      const std::span<const Event> events = used->wait(test::deadline());
      used->after_wait();
      if (events.size() != 1 || events[0].owner != &owner) return false;
      used->forget(pair.ours.get());
      return serves(*used) && serves(*unused) &&
             (call == kSetUp || used->backend() == Backend::epoll);
    })) << call;
  }
}

/// The wake-up comes through the ring's own eventfd, whoever waits for it.
TEST(Fallback, ForkedChildWithoutRights) {
  const auto reactor = Reactor::create(Preference::io_uring);
  ASSERT_NE(reactor, nullptr);
  ASSERT_TRUE(serves(*reactor));
  const Pair pair;
  int owner = 0;
  ASSERT_EQ(reactor->watch(pair.ours.get(), readable, Trigger::level, &owner), 0);
  EXPECT_TRUE(in_child([&] {
    if (!refuse({kSetUp, kEnter, kRegister}, EPERM) || !serves(*reactor)) return false;
    // And a child of the child, which has the same watches.
    return reactor->backend() == Backend::epoll && in_child([&] {
             pair.put();
             reactor->prepare_to_wait();
             reactor->wake();
             for (int turn = 0; turn < 3; ++turn) {
               const std::span<const Event> events = reactor->wait(test::deadline());
               if (events.size() == 1) return events[0].owner == &owner && !pair.take().empty();
             }
             return false;
           });
  }));
  EXPECT_TRUE(serves(*reactor));
}

TEST(Fallback, NoDescriptorLeft) {
  EXPECT_TRUE(in_child([] {
    int const next = dup(0);
    close(next);
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = static_cast<rlim_t>(next);
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return false;
    for (const Preference preference :
         {Preference::automatic, Preference::io_uring, Preference::epoll}) {
      errno = 0;
      if (Reactor::create(preference) != nullptr || errno != EMFILE) return false;
    }
    // They were not mistaken for a kernel without io_uring.
    limit.rlim_cur += 16;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return false;
    const auto reactor = Reactor::create(Preference::io_uring);
    return reactor != nullptr && serves(*reactor);
  }));
}

/// The memory of rings counts against a user's limit, unless the kernel is of the years between.
TEST(Fallback, NoMemoryThatMayBeLocked) {
  if (geteuid() != 0) GTEST_SKIP() << "root is needed to become somebody else";
  EXPECT_TRUE(in_child([] {
    const rlimit none{0, 0};
    if (setrlimit(RLIMIT_MEMLOCK, &none) != 0 || setgid(65534) != 0 || setuid(65534) != 0) {
      return false;
    }
    if (Reactor::create(Preference::io_uring) != nullptr) return true;
    return falls_back(ENOMEM);
  }));
}

}  // namespace
}  // namespace penstock::io_uring
