// SPDX-License-Identifier: Apache-2.0
#include "ring.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <new>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#include "penstock/shim.hpp"
#include "process.hpp"

namespace penstock::io_uring {

namespace {

constexpr std::int64_t kNanosPerSecond = 1'000'000'000;

// Newer than Debian's liburing. Without NO_IOWAIT a thread that waits for a socket counts as one
// that waits for a disk, and an idle processor as busy.
constexpr unsigned kEnterNoIowait = 1U << 7;
constexpr unsigned kFeatureNoIowait = 1U << 17;

/// Without them we do not try: deadlines, completions that overflow and are kept, cancelling
/// without an answer. Linux 5.17 has them all, and with them multishot poll.
constexpr unsigned kFeatures = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_CQE_SKIP;

unsigned set_up_flags(Ring::Mode mode) noexcept {
  constexpr unsigned all = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
  switch (mode) {
    case Ring::Mode::deferred:
      // The thread that enables it is its only one from then on.
      return all | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
             IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED;
    case Ring::Mode::cooperative:
      return all | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    case Ring::Mode::plain:
      return all;
  }
  return all;
}

/// The kernel gives the memory of a ring that went to the next one. liburing, which unmaps and maps
/// it, is not instrumented, so ThreadSanitizer must be told that one comes after the other.
class MappedMemory {
 public:
  static void comes() noexcept {
#ifdef __SANITIZE_THREAD__
    __tsan_acquire(&token_);
#endif
  }
  static void goes() noexcept {
#ifdef __SANITIZE_THREAD__
    __tsan_release(&token_);
#endif
  }

 private:
  [[maybe_unused]] static inline char token_ = 0;
};

std::unique_ptr<Ring>& spare() noexcept {
  static thread_local std::unique_ptr<Ring> ring;
  return ring;
}

}  // namespace

std::unique_ptr<Ring> Ring::open(const Options& options) noexcept {
  std::unique_ptr<Ring> ring(new (std::nothrow) Ring(options));
  const int error = ring == nullptr ? ENOMEM : ring->set_up();
  if (error == 0) return ring;
  ring = nullptr;
  errno = error;
  return nullptr;
}

/// Tries one mode after the other, as kernels refuse flags that they do not know.
int Ring::set_up() noexcept {
  forks_ = forks();
  for (Mode mode = options_.best;; mode = static_cast<Mode>(static_cast<int>(mode) + 1)) {
    io_uring_params params{};
    params.flags = set_up_flags(mode);
    params.cq_entries = options_.completions;
    const int result = io_uring_queue_init_params(options_.submissions, &ring_, &params);
    if (result == -EINVAL && mode != Mode::plain) continue;
    if (result < 0) return -result;
    is_set_up_ = true;
    MappedMemory::comes();
    mode_ = mode;
    if ((params.features & kFeatures) != kFeatures) return ENOSYS;
    if ((params.features & kFeatureNoIowait) != 0) enter_flags_ = kEnterNoIowait;
    return 0;
  }
}

Ring::~Ring() {
  if (!is_set_up_) return;
  MappedMemory::goes();
  io_uring_queue_exit(&ring_);
}

std::unique_ptr<Ring> Ring::take(const Options& options) noexcept {
  std::unique_ptr<Ring> ring = std::move(spare());
  if (ring != nullptr && ring->is_mine() && ring->options_ == options) return ring;
  ring = nullptr;  // First, for its descriptor.
  return open(options);
}

void Ring::give_back(std::unique_ptr<Ring> ring) noexcept {
  if (ring->is_mine() && ring->error_ == 0) spare() = std::move(ring);
}

bool Ring::passes(int error) noexcept {
  return error == EINTR || error == ETIME || error == EAGAIN || error == EBUSY || error == ENOMEM ||
         error == ECANCELED;
}

bool Ring::is_mine() const noexcept { return owner_ == this_thread() && forks_ == forks(); }

bool Ring::claim() noexcept {
  // liburing 2.3 of Debian declares io_uring_enable_rings, but does not contain it.
  if (owner_ == 0 && mode_ == Mode::deferred &&
      syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) !=
          0) {
    return false;
  }
  owner_ = this_thread();
  return true;
}

io_uring_sqe* Ring::submission() noexcept {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) {
    enter(0);
    sqe = io_uring_get_sqe(&ring_);
  }
  return sqe;
}

bool Ring::retract(std::uint64_t tag) noexcept {
  for (unsigned at = IO_URING_READ_ONCE(*ring_.sq.khead); at != ring_.sq.sqe_tail; ++at) {
    io_uring_sqe& sqe = ring_.sq.sqes[at & ring_.sq.ring_mask];
    if (sqe.user_data != tag) continue;
    io_uring_prep_nop(&sqe);
    sqe.user_data = kIgnoredTag;
    return true;
  }
  return false;
}

/// Shows the kernel what was prepared; returns how much it has not taken.
unsigned Ring::publish() noexcept {
  io_uring_sq& sq = ring_.sq;
  unsigned tail = *sq.ktail;  // Only we write it.
  for (; sq.sqe_head != sq.sqe_tail; ++sq.sqe_head, ++tail) {
    sq.array[tail & sq.ring_mask] = sq.sqe_head & sq.ring_mask;
  }
  io_uring_smp_store_release(sq.ktail, tail);
  return tail - io_uring_smp_load_acquire(sq.khead);
}

void Ring::enter(unsigned completions, std::int64_t timeout_ns) noexcept {
  __kernel_timespec timeout{timeout_ns / kNanosPerSecond, timeout_ns % kNanosPerSecond};
  io_uring_getevents_arg argument{};
  argument.ts = timeout_ns == no_timeout ? 0 : reinterpret_cast<std::uint64_t>(&timeout);
  const long result = syscall(__NR_io_uring_enter, ring_.ring_fd, publish(), completions,
                              IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | enter_flags_,
                              &argument, sizeof argument);
  if (result < 0 && !passes(errno)) error_ = errno;
}

/// io_uring may be there for set-up, and refused to those who use it.
int Ring::answer_to_nop() noexcept {
  if (!claim()) return errno;
  io_uring_sqe* const sqe = submission();
  if (sqe == nullptr) return EAGAIN;
  io_uring_prep_nop(sqe);
  sqe->user_data = kIgnoredTag;
  enter(1, kNanosPerSecond);
  int answer = error_ != 0 ? error_ : ETIME;
  reap([&](const io_uring_cqe& cqe) {
    answer = -cqe.res;
    return true;
  });
  return answer;
}

int Ring::probe() noexcept {
  constexpr std::uint64_t is_known = std::uint64_t{1} << 63;
  static constinit Atomic<std::uint64_t> remembered{0};  // Mark, process, errno.
  std::uint64_t const here = is_known | std::uint64_t{forks() & INT32_MAX} << 32;
  std::uint64_t const known = remembered.load(order::relaxed);
  if ((known & ~std::uint64_t{UINT32_MAX}) == here) return static_cast<int>(known & UINT32_MAX);
  std::unique_ptr<Ring> ring = take({});
  const int error = ring == nullptr ? errno : ring->answer_to_nop();
  if (ring != nullptr) give_back(std::move(ring));
  // Those pass, as others end.
  const bool passing = error == EMFILE || error == ENFILE || error == ENOMEM || error == EAGAIN;
  if (!passing) remembered.store(here | static_cast<std::uint32_t>(error), order::relaxed);
  return error;
}

}  // namespace penstock::io_uring
