// SPDX-License-Identifier: Apache-2.0
#include "worker_process.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <memory>
#include <string_view>
#include <system_error>

#include "penstock/thread.hpp"

#ifdef __SANITIZE_THREAD__
/// By a name under which ThreadSanitizer does not take it for a fork.
extern "C" int __clone(int (*body)(void*), void* stack, int flags, void* argument, ...);
#define clone __clone
#endif

namespace penstock::nif {

namespace {

constexpr int kSocket = 3;

void check(int error, const char* what) {
  if (error != 0) throw std::system_error(error, std::generic_category(), what);
}

/// With the package in front of the path.
std::vector<std::string> environment_of(const WorkerCommand& command) {
  constexpr std::string_view kPath = "PYTHONPATH=";
  std::vector<std::string> settings = command.env;
  for (std::string& each : settings) {
    if (!each.starts_with(kPath)) continue;
    each.insert(kPath.size(), command.package_path + ":");
    return settings;
  }
  settings.push_back(std::string(kPath) + command.package_path);
  return settings;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& each : texts) pointers.push_back(each.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// What becomes the worker, between clone() and exec(). It runs in the memory of the VM, on a stack
/// of its own, while the thread that started it is stopped: nothing here may allocate, nor touch
/// what others may be in the midst of changing. System calls only: sanitizers keep books in that
/// memory of what libc is asked for.
struct Child {
  const char* python;
  const char* cwd;  // nullptr: stay.
  char* const* arguments;
  char* const* environment;
  int socket;
  std::uint64_t memory_limit;  // 0: none.
  int error = 0;

  /// Of what it maps for itself, and not of the address space: that would count libraries, shared
  /// memory, and what allocators only reserve. exec() keeps it.
  [[nodiscard]] bool limit_memory() const noexcept {
    if (memory_limit == 0) return true;
    const std::uint64_t limits[] = {memory_limit, memory_limit};  // The kernel's struct rlimit64.
    return syscall(SYS_prlimit64, 0, RLIMIT_DATA, limits, nullptr) == 0;
  }

  [[nodiscard]] bool prepare() const noexcept {
    // The VM's thread that starts it lives as long as the VM.
    if (syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return false;
    // A group of its own: what a terminal tells the VM's is for the VM to pass on.
    if (syscall(SYS_setpgid, 0, 0) != 0) return false;
    constexpr std::size_t kMask = 8;                   // Bytes of the kernel's sigset_t.
    constexpr unsigned char kNothing[4 * kMask] = {};  // Of its struct sigaction, the default.
    for (int number = 1; number < NSIG; ++number) {
      (void)syscall(SYS_rt_sigaction, number, kNothing, nullptr, kMask);
    }
    const long empty = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY, 0);
    if (empty < 0 || (empty != 0 && syscall(SYS_dup3, empty, 0, 0) < 0)) return false;
    const bool is_there = socket == kSocket;  // But would be closed.
    if ((is_there ? syscall(SYS_fcntl, socket, F_SETFD, 0)
                  : syscall(SYS_dup3, socket, kSocket, 0)) < 0) {
      return false;
    }
    if (syscall(SYS_close_range, kSocket + 1, ~0U, 0) != 0) return false;
    if (cwd != nullptr && syscall(SYS_chdir, cwd) != 0) return false;
    if (!limit_memory()) return false;
    return syscall(SYS_rt_sigprocmask, SIG_SETMASK, kNothing, nullptr, kMask) == 0;
  }

  static int run(void* of) {
    auto& self = *static_cast<Child*>(of);
    if (self.prepare()) {
      (void)syscall(SYS_execve, self.python, self.arguments, self.environment);
    }
    self.error = errno;
    (void)syscall(SYS_exit_group, 127);
    return 0;
  }
};

/// The VM ignores SIGCHLD, and then the kernel forgets at once how a child ended. Its own children
/// are another process's, so that nothing is lost if it is not ignored.
void remember_ends() noexcept {
  struct sigaction action {};
  if (sigaction(SIGCHLD, nullptr, &action) != 0 || action.sa_handler != SIG_IGN) return;
  action.sa_handler = SIG_DFL;
  (void)sigaction(SIGCHLD, &action, nullptr);
}

}  // namespace

/// As posix_spawn() does it, which knows neither descriptors of processes nor PR_SET_PDEATHSIG.
WorkerProcess::WorkerProcess(const WorkerCommand& command, int socket) {
  std::vector<std::string> words = {command.python, "-m", "erlang.worker", std::to_string(kSocket)};
  std::vector<std::string> settings = environment_of(command);
  const std::vector<char*> arguments = pointers_to(words);
  const std::vector<char*> environment = pointers_to(settings);
  Child child{command.python.c_str(),
              command.cwd.empty() ? nullptr : command.cwd.c_str(),
              arguments.data(),
              environment.data(),
              socket,
              command.memory_limit};
  constexpr std::size_t kStack = std::size_t{64} * 1024;
  const auto stack = std::make_unique<std::byte[]>(kStack);
  {
    remember_ends();
    const SignalsBlocked blocked;  // No handler of the VM's may run in a child that has its memory.
    pid_ = clone(Child::run, stack.get() + kStack, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
                 &child, &descriptor_);
    if (pid_ < 0) check(errno, "clone");
  }
  if (child.error == 0) return;
  (void)wait();
  close(descriptor_);
  check(child.error, command.python.c_str());
}

WorkerProcess::~WorkerProcess() {
  kill();
  (void)wait();
  close(descriptor_);
}

void WorkerProcess::kill() noexcept {
  (void)syscall(SYS_pidfd_send_signal, descriptor_, SIGKILL, nullptr, 0);
}

WorkerEnd WorkerProcess::wait() noexcept {
  if (has_ended_) return end_;
  siginfo_t info{};
  int result = 0;
  do {
    result = waitid(P_PIDFD, static_cast<id_t>(descriptor_), &info, WEXITED);
  } while (result != 0 && errno == EINTR);
  has_ended_ = true;
  if (result == 0) end_ = {info.si_code != CLD_EXITED, info.si_status};
  return end_;
}

}  // namespace penstock::nif
