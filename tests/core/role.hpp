// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

/// Other processes of a test. A role is a test whose name begins with DISABLED_, which a run of
/// all tests skips, and which a child process executes: the program started anew.
namespace penstock::test {

/// Where a role finds the descriptor that its parent passed.
inline constexpr int kRoleDescriptor = 200;

/// A running role. Its end is waited for; whoever drops it without asking ends it.
class Role {
 public:
  /// `settings`: NAME=value for role_setting(). `descriptor`: to pass on, or -1.
  Role(const std::string& test, const std::vector<std::string>& settings, int descriptor) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (descriptor >= 0) {
      posix_spawn_file_actions_adddup2(&actions, descriptor, kRoleDescriptor);
    }
    std::string filter = "--gtest_filter=" + test;
    std::string disabled = "--gtest_also_run_disabled_tests";
    std::string brief = "--gtest_brief=1";
    char* const arguments[] = {const_cast<char*>("role"), filter.data(), disabled.data(),
                               brief.data(), nullptr};
    std::vector<std::string> environment(settings);
    for (char** entry = environ; *entry != nullptr; ++entry) {
      // The runner's own filter and report file are not for the child.
      if (std::string(*entry).rfind("GTEST_", 0) != 0) environment.emplace_back(*entry);
    }
    std::vector<char*> pointers;
    for (std::string& entry : environment) pointers.push_back(entry.data());
    pointers.push_back(nullptr);
    if (posix_spawn(&child_, "/proc/self/exe", &actions, nullptr, arguments, pointers.data()) !=
        0) {
      child_ = -1;
    }
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Role() {
    if (child_ <= 0) return;
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  Role(const Role&) = delete;
  Role& operator=(const Role&) = delete;

  /// Waits until it has ended: whether all its expectations held.
  [[nodiscard]] bool succeeded() {
    const int status = wait();
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  /// Waits until it has ended: the number of the signal that killed it, or 0.
  [[nodiscard]] int killed_by() {
    const int status = wait();
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }
  /// Whether it has ended. Does not wait.
  [[nodiscard]] bool has_ended() const {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == child_;
  }

 private:
  /// Of one that was never there: neither an end by itself nor one by a signal.
  int wait() {
    int status = 0x7F;
    if (child_ > 0 && waitpid(child_, &status, 0) != child_) status = 0x7F;
    child_ = -1;
    return status;
  }

  pid_t child_ = -1;
};

[[nodiscard]] inline std::uint64_t role_setting(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? 0 : std::strtoull(value, nullptr, 10);
}

}  // namespace penstock::test
