// SPDX-License-Identifier: Apache-2.0
#include "penstock/segment.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "penstock/shim.hpp"

#ifndef MFD_NOEXEC_SEAL  // Kernel 6.3; glibc 2.36 does not know it.
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace penstock {

namespace {

constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

[[noreturn]] void fail(const char* what, int error = errno) {
  throw std::system_error(error, std::generic_category(), what);
}

std::size_t whole_pages(std::size_t bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  if (bytes == 0 || bytes > SIZE_MAX - page) fail("segment size", EINVAL);
  return (bytes + page - 1) / page * page;
}

int open_memfd(const char* name) {
  constexpr unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int descriptor = memfd_create(name, flags | MFD_NOEXEC_SEAL);
  if (descriptor < 0 && errno == EINVAL) descriptor = memfd_create(name, flags);
  if (descriptor < 0) fail("memfd_create");
  return descriptor;
}

/// Beyond RLIMIT_FSIZE the kernel refuses, too, but it first sends SIGXFSZ, which ends a process
/// that does not expect it.
bool is_within_limit(std::size_t bytes) noexcept {
  struct rlimit limit {};
  return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
         bytes <= limit.rlim_cur;
}

/// A statistic.
constinit Atomic<std::int64_t> shared_bytes_here{0};

}  // namespace

std::int64_t Segment::shared_bytes() noexcept { return shared_bytes_here.load(order::relaxed); }

Segment Segment::create_private(std::size_t bytes) {
  Segment segment;
  segment.map(-1, whole_pages(bytes));
  return segment;
}

Segment Segment::create_shared(std::size_t bytes, const char* name) {
  std::size_t const size = whole_pages(bytes);
  if (!is_within_limit(size)) fail("fallocate of a segment", EFBIG);
  Segment segment;
  segment.descriptor_ = open_memfd(name);
  // Grows the file, and reserves its pages.
  int error = EINTR;
  while (error == EINTR) {
    error = posix_fallocate(segment.descriptor_, 0, static_cast<off_t>(size));
  }
  if (error != 0) fail("fallocate of a segment", error);
  if (fcntl(segment.descriptor_, F_ADD_SEALS, kSizeSeals) != 0) fail("sealing a segment");
  segment.map(segment.descriptor_, size);
  return segment;
}

Segment Segment::attach(int descriptor, std::size_t bytes) {
  Segment segment;
  segment.descriptor_ = descriptor;
  // Seals first: once they hold, the size cannot change under the check.
  const int seals = fcntl(descriptor, F_GET_SEALS);
  if (seals < 0) fail("segment is not a memfd");
  if ((seals & kSizeSeals) != kSizeSeals) fail("segment size is not sealed", EPERM);
  struct stat status {};
  if (fstat(descriptor, &status) != 0) fail("fstat of a segment");
  std::size_t const size = whole_pages(bytes);
  if (static_cast<std::size_t>(status.st_size) != size) fail("segment size", EINVAL);
  segment.map(descriptor, size);
  return segment;
}

void Segment::map(int descriptor, std::size_t bytes) {
  const int flags = descriptor < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* const address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, descriptor, 0);
  if (address == MAP_FAILED) fail("mmap of a segment");
  memory_ = {static_cast<std::uint8_t*>(address), bytes};
  is_shared_ = descriptor >= 0;
  if (is_shared_) shared_bytes_here.fetch_add(static_cast<std::int64_t>(bytes), order::relaxed);
  if (!Forks::watch()) fail("pthread_atfork", ENOMEM);
  born_ = Forks::count();
  // A forked child of ours has no business here.
  if (madvise(address, bytes, MADV_DONTFORK) != 0) fail("madvise of a segment");
}

void Segment::close_descriptor() noexcept {
  if (descriptor_ >= 0) close(std::exchange(descriptor_, -1));
}

Segment::~Segment() {
  close_descriptor();
  // In a forked child something else may be there by now.
  if (memory_.empty() || !is_here()) return;
  munmap(memory_.data(), memory_.size());
  if (!is_shared_) return;
  shared_bytes_here.fetch_sub(static_cast<std::int64_t>(memory_.size()), order::relaxed);
}

}  // namespace penstock
