// SPDX-License-Identifier: Apache-2.0
// Shared memory that cannot be had. Each case is a forked child, because a filter of system calls
// is for life.
#include <dirent.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <functional>
#include <string>
#include <system_error>
#include <utility>

#include "penstock/domain.hpp"
#include "penstock/segment.hpp"
#include "penstock/shared_channel.hpp"
#include "penstock/shared_queue.hpp"
#include "penstock/shared_stream.hpp"
#include "role.hpp"

namespace penstock {
namespace {

constexpr std::size_t kSmall = 4096, kLarge = std::size_t{1} << 20;

/// From here on memory of files is there for kLarge bytes at a time, but not for more.
bool fill_memory() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_fallocate, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[3])),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, kLarge, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSPC),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{std::size(program), program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

bool limit_files(rlim_t bytes) {
  struct rlimit limit {};
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0) return false;
  limit.rlim_cur = bytes;
  return setrlimit(RLIMIT_FSIZE, &limit) == 0;
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  DIR* const folder = opendir("/proc/self/fd");
  while (readdir(folder) != nullptr) ++count;  // NOLINT(concurrency-mt-unsafe): a child's only.
  closedir(folder);
  return count;
}

std::size_t mapped_memories() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/memfd:penstock") != std::string::npos) ++count;
  }
  return count;
}

struct Left {
  std::size_t descriptors, memories;
  bool operator==(const Left&) const = default;
};
Left left() { return {open_descriptors(), mapped_memories()}; }

/// A channel's threads end a little later than it does.
bool settles_at(const Left& expected) {
  std::int64_t const deadline = now_ns() + 10'000'000'000;
  while (left() != expected) {
    if (now_ns() > deadline) return false;
    sched_yield();
  }
  return true;
}

/// Of what `call` throws; 0: nothing.
template <class Call>
int error_of(Call call) {
  try {
    call();
  } catch (const std::system_error& failure) {
    return failure.code().value();
  }
  return 0;
}

/// Whoever makes memory that processes share, of about so many bytes.
void for_each_creator(
    const std::function<void(const char*, std::function<void(std::size_t)>)>& to) {
  const Ref<Domain> domain = Domain::create();
  static wire::ValuePorter porter(0);
  to("Segment", [](std::size_t bytes) { (void)Segment::create_shared(bytes); });
  to("SharedQueue", [&](std::size_t bytes) {
    (void)SharedQueue::create(domain, porter, bytes, Channel::Content::terms);
  });
  to("SharedStream", [&](std::size_t bytes) {
    ByteStream::Options options;
    options.max_unread = bytes;
    (void)SharedStream::create(domain, porter, options);
  });
  to("SharedChannel",
     [](std::size_t bytes) { (void)SharedChannel::create({}, {.max_size = bytes}); });
  domain->leave();
}

/// How many of the creators did otherwise than `refuses` says, and what they left behind.
int count_failures(int expected, const std::function<bool()>& begin,
                   const std::function<bool()>& end, std::size_t size_after) {
  int failures = 0;
  const auto expect = [&failures](bool holds, const char* who, const char* what) {
    if (holds) return;
    ++failures;
    std::fprintf(stderr, "%s: %s\n", who, what);
  };
  for_each_creator([&](const char* who, const std::function<void(std::size_t)>& create) {
    const Left before = left();
    create(kSmall);
    expect(settles_at(before), who, "something is left");
    expect(begin(), who, "cannot begin");
    for (int i = 0; i < 10; ++i) {
      expect(error_of([&] { create(8 * kLarge); }) == expected, who, "another error");
    }
    expect(settles_at(before), who, "something is left of what could not be made");
    expect(end(), who, "cannot end");
    expect(error_of([&] { create(size_after); }) == 0, who, "does not work again");
    expect(settles_at(before), who, "something is left in the end");
  });
  return failures;
}

// Roles

TEST(NoRoomRole, DISABLED_MemoryIsFull) {
  bool is_full = false;
  const auto fill = [&is_full] { return std::exchange(is_full, true) || fill_memory(); };
  EXPECT_EQ(count_failures(
                ENOSPC, fill, [] { return true; }, kSmall),
            0);
}

TEST(NoRoomRole, DISABLED_FilesAreLimited) {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ASSERT_EQ(sigaction(SIGXFSZ, &standard, nullptr), 0);
  const auto lift = [] { return limit_files(RLIM_INFINITY); };
  EXPECT_EQ(count_failures(
                EFBIG, [] { return limit_files(kLarge); }, lift, 8 * kLarge),
            0);
}

TEST(NoRoom, IsAnErrorWhenSharedMemoryIsMade) {
  EXPECT_TRUE(test::Role("NoRoomRole.DISABLED_MemoryIsFull", {}, -1).succeeded());
}

/// The kernel would send a signal that ends the process.
TEST(NoRoom, ForFilesOfThatSizeIsAnErrorAndNoSignal) {
  EXPECT_TRUE(test::Role("NoRoomRole.DISABLED_FilesAreLimited", {}, -1).succeeded());
}

}  // namespace
}  // namespace penstock
