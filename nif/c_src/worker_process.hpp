// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace penstock::nif {

/// A python3 that runs erlang.worker.
struct WorkerCommand {
  std::string python;            ///< Its path.
  std::string package_path;      ///< Directory that holds the `erlang` package.
  std::string cwd;               ///< "": the VM's.
  std::vector<std::string> env;  ///< NAME=value, all of them.
  /// Bytes of private memory that it may write to (RLIMIT_DATA); 0: as the VM.
  std::uint64_t memory_limit = 0;
};

/// How a process ended.
struct WorkerEnd {
  bool by_signal = false;
  int number = 0;  ///< Signal or exit status.
};

/// An operating-system process of ours: killed, and waited for, at the latest when this goes.
///
/// Threads: one at a time; kill() any.
class WorkerProcess {
 public:
  /// `socket`: becomes descriptor 3 there, the only one beside 0, 1 and 2. Blocks for as long as
  /// the system takes. Throws system_error.
  WorkerProcess(const WorkerCommand& command, int socket);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// Readable when the process has ended.
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  void kill() noexcept;
  /// Blocks until it has ended; after kill() that is soon.
  WorkerEnd wait() noexcept;

 private:
  pid_t pid_ = -1;
  int descriptor_ = -1;
  bool has_ended_ = false;
  WorkerEnd end_;
};

}  // namespace penstock::nif
