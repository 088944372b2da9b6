// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "report.hpp"

namespace penstock::kill {

/// A page for a victim's report.
class ReportPage {
 public:
  ReportPage() : descriptor_(memfd_create("report", MFD_CLOEXEC)) {
    void* page = MAP_FAILED;
    if (descriptor_ >= 0 && ftruncate(descriptor_, sizeof(Report)) == 0) {
      page = mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
    }
    if (page == MAP_FAILED) std::abort();
    report_ = new (page) Report;  // Zeros, most of which nobody touches.
  }
  ~ReportPage() {
    munmap(report_, sizeof(Report));
    close(descriptor_);
  }
  ReportPage(const ReportPage&) = delete;
  ReportPage& operator=(const ReportPage&) = delete;
  Report* operator->() const { return report_; }
  Report& operator*() const { return *report_; }
  [[nodiscard]] int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
  Report* report_;
};

/// This program, started anew as a victim, which is the only one whose life is at stake.
class VictimProcess {
 public:
  enum class State : std::uint8_t { runs, stopped, ended };

  VictimProcess(std::vector<std::string> words, int first, int second, int report) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, first, kFirstDescriptor);
    posix_spawn_file_actions_adddup2(&actions, second, kSecondDescriptor);
    posix_spawn_file_actions_adddup2(&actions, report, kReportDescriptor);
    words.insert(words.begin(), {"kill_tests", "victim"});
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    if (posix_spawn(&process_, "/proc/self/exe", &actions, nullptr, arguments.data(), environ) !=
        0) {
      std::abort();
    }
    posix_spawn_file_actions_destroy(&actions);
    pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, process_, 0));
    if (pidfd_ < 0) std::abort();
  }
  ~VictimProcess() {
    end();
    close(pidfd_);
  }
  VictimProcess(const VictimProcess&) = delete;
  VictimProcess& operator=(const VictimProcess&) = delete;

  /// Does not wait.
  [[nodiscard]] State state() const {
    pollfd death{pidfd_, POLLIN, 0};
    if (poll(&death, 1, 0) == 1) return State::ended;
    siginfo_t info{};
    const bool is_stopped =
        waitid(P_PID, static_cast<id_t>(process_), &info, WSTOPPED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid == process_;
    return is_stopped ? State::stopped : State::runs;
  }
  [[nodiscard]] int pidfd() const { return pidfd_; }
  void send_signal(int signal) const {
    if (::kill(process_, signal) != 0) std::abort();
  }
  /// Goes on after it was stopped; that it was is known no more.
  void go_on() const {
    siginfo_t info{};
    (void)waitid(P_PID, static_cast<id_t>(process_), &info, WSTOPPED | WNOHANG);
    send_signal(SIGCONT);
  }
  /// Waits for the end: its exit status, or minus the signal.
  int status() {
    if (!is_reaped_) {
      int status = 0;
      if (waitpid(process_, &status, 0) != process_) std::abort();
      is_reaped_ = true;
      status_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    return status_;
  }

 private:
  void end() {
    if (is_reaped_) return;
    send_signal(SIGKILL);
    (void)status();
  }

  pid_t process_ = -1;
  int pidfd_ = -1;
  bool is_reaped_ = false;
  int status_ = 0;
};

}  // namespace penstock::kill
