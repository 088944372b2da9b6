// SPDX-License-Identifier: Apache-2.0
#include "penstock/segment.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <string>
#include <system_error>

namespace penstock {
namespace {

constexpr std::size_t kBytes = 3 * 4096;

bool is_open(int descriptor) { return fcntl(descriptor, F_GETFD) >= 0; }

bool all_zero(std::span<const std::uint8_t> memory) {
  return std::all_of(memory.begin(), memory.end(), [](std::uint8_t byte) { return byte == 0; });
}

/// A memfd as somebody else might make it.
int foreign_memfd(std::size_t bytes, int seals) {
  const int descriptor = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  EXPECT_EQ(ftruncate(descriptor, static_cast<off_t>(bytes)), 0);
  EXPECT_EQ(fcntl(descriptor, F_ADD_SEALS, seals), 0);
  return descriptor;
}

void expect_refused(int descriptor, std::size_t bytes, int error) {
  try {
    const Segment segment = Segment::attach(descriptor, bytes);
    ADD_FAILURE() << "attached";
  } catch (const std::system_error& failure) {
    EXPECT_EQ(failure.code().value(), error) << failure.what();
  }
  EXPECT_FALSE(is_open(descriptor)) << "attach takes the descriptor over, also on failure";
}

TEST(Segment, PrivateMemoryIsZeroedAndWholePages) {
  const Segment segment = Segment::create_private(5000);
  EXPECT_EQ(segment.memory().size(), 8192U);
  EXPECT_TRUE(all_zero(segment.memory()));
  EXPECT_EQ(segment.descriptor(), -1);
}

TEST(Segment, RefusesNoBytesAndTooMany) {
  EXPECT_THROW((void)Segment::create_private(0), std::system_error);
  EXPECT_THROW((void)Segment::create_shared(0), std::system_error);
  EXPECT_THROW((void)Segment::create_private(SIZE_MAX), std::system_error);
  EXPECT_THROW((void)Segment::create_private(SIZE_MAX / 2), std::system_error);
  EXPECT_THROW((void)Segment::create_shared(SIZE_MAX / 2), std::system_error);
}

TEST(Segment, SharesWhatEitherMappingWrites) {
  const Segment ours = Segment::create_shared(kBytes);
  const Segment theirs = Segment::attach(dup(ours.descriptor()), kBytes);
  ASSERT_EQ(theirs.memory().size(), kBytes);
  EXPECT_NE(theirs.memory().data(), ours.memory().data());
  EXPECT_TRUE(all_zero(ours.memory()));
  ours.memory()[0] = 1;
  theirs.memory()[kBytes - 1] = 2;
  EXPECT_EQ(theirs.memory()[0], 1);
  EXPECT_EQ(ours.memory()[kBytes - 1], 2);
}

TEST(Segment, CannotBeResizedByWhoeverHasTheDescriptor) {
  const Segment segment = Segment::create_shared(kBytes);
  EXPECT_NE(ftruncate(segment.descriptor(), 0), 0);
  EXPECT_NE(ftruncate(segment.descriptor(), 2 * kBytes), 0);
  EXPECT_NE(fcntl(segment.descriptor(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  EXPECT_NE(fcntl(segment.descriptor(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(Segment, AttachRefusesWhatCouldShrinkUnderIt) {
  expect_refused(foreign_memfd(kBytes, 0), kBytes, EPERM);
  expect_refused(foreign_memfd(kBytes, F_SEAL_SHRINK), kBytes, EPERM);
  expect_refused(foreign_memfd(kBytes, F_SEAL_GROW | F_SEAL_SEAL), kBytes, EPERM);
  const Segment attached =
      Segment::attach(foreign_memfd(kBytes, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), kBytes);
  EXPECT_EQ(attached.memory().size(), kBytes);
}

TEST(Segment, AttachRefusesAnotherSizeThanExpected) {
  constexpr int kSealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  expect_refused(foreign_memfd(kBytes - 4096, kSealed), kBytes, EINVAL);
  expect_refused(foreign_memfd(kBytes - 1, kSealed), kBytes, EINVAL);
  expect_refused(foreign_memfd(kBytes + 4096, kSealed), kBytes, EINVAL);
  expect_refused(foreign_memfd(0, kSealed), kBytes, EINVAL);
}

TEST(Segment, AttachRefusesWhatIsNotAMemfd) {
  int pipe_ends[2];
  ASSERT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
  expect_refused(pipe_ends[0], kBytes, EINVAL);
  close(pipe_ends[1]);
  int sockets[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  expect_refused(sockets[0], kBytes, EINVAL);
  close(sockets[1]);
  const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(file, 0);
  expect_refused(file, kBytes, EINVAL);
  EXPECT_THROW((void)Segment::attach(-1, kBytes), std::system_error);
}

/// A tmpfs file can be sealed by nobody, and is refused like any other file.
TEST(Segment, AttachRefusesARegularFile) {
  for (const char* const folder : {"/tmp", "/dev/shm"}) {
    const int file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0) continue;  // No such file system here.
    ASSERT_EQ(ftruncate(file, kBytes), 0);
    try {
      const Segment segment = Segment::attach(file, kBytes);
      ADD_FAILURE() << "attached a file in " << folder;
    } catch (const std::system_error& failure) {
      EXPECT_TRUE(failure.code().value() == EINVAL || failure.code().value() == EPERM);
    }
    EXPECT_FALSE(is_open(file));
  }
}

TEST(Segment, FreesMappingAndDescriptorOnce) {
  int descriptor = -1;
  {
    Segment segment = Segment::create_shared(kBytes);
    descriptor = segment.descriptor();
    Segment moved = std::move(segment);
    EXPECT_EQ(moved.descriptor(), descriptor);
    EXPECT_TRUE(segment.memory().empty());  // NOLINT(bugprone-use-after-move)
    segment = std::move(moved);
    EXPECT_TRUE(is_open(descriptor));
  }
  EXPECT_FALSE(is_open(descriptor));
}

TEST(Segment, SaysWhatItIsAndIsCountedWhileItIsShared) {
  std::int64_t const before = Segment::shared_bytes();
  {
    Segment segment = Segment::create_shared(kBytes, "penstock-test");
    const Segment other = Segment::attach(dup(segment.descriptor()), kBytes);
    const Segment of_process = Segment::create_private(kBytes);
    char name[100]{};
    const std::string link = "/proc/self/fd/" + std::to_string(segment.descriptor());
    ASSERT_GT(readlink(link.c_str(), name, sizeof name - 1), 0);
    EXPECT_STREQ(name, "/memfd:penstock-test (deleted)");
    EXPECT_EQ(Segment::shared_bytes(), before + std::int64_t{2 * kBytes});
    segment.close_descriptor();
    const Segment moved = std::move(segment);
    EXPECT_EQ(Segment::shared_bytes(), before + std::int64_t{2 * kBytes});
  }
  EXPECT_EQ(Segment::shared_bytes(), before);
}

/// A forked child that touched a ring would be a second producer that nobody knows of.
TEST(Segment, IsNotMappedInAForkedChild) {
  const Segment shared = Segment::create_shared(kBytes);
  const Segment of_process = Segment::create_private(kBytes);
  for (const Segment* const segment : {&shared, &of_process}) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      // The kernel answers for us: a read from an address that is not mapped is EFAULT.
      int ends[2];
      const bool mapped = pipe(ends) == 0 && write(ends[1], segment->memory().data(), 1) == 1;
      _exit(mapped ? 1 : errno == EFAULT ? 0 : 2);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
  }
}

}  // namespace
}  // namespace penstock
