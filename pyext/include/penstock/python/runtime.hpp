// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "penstock/call.hpp"
#include "penstock/channel.hpp"
#include "penstock/context.hpp"
#include "penstock/ref.hpp"

/// What the VM, or a worker process, may ask of Python. This header includes no Python.h: it is the
/// only one of pyext/ that nif/ sees.
namespace penstock::python {

class RequestSource;
class RuntimeThread;

struct RuntimeConfig {
  std::string executable;    ///< The python3 to be: decides prefix, site-packages, virtualenv.
  std::string package_path;  ///< Directory that holds the `erlang` package.
};

/// Starts the interpreter of this OS process, once and for good: it is never finalised, because a
/// thread that wants the GIL afterwards cannot be stopped cleanly. Blocks for as long as Python
/// takes to start (some 50 ms). Any thread, several at once. Returns what failed, or "".
[[nodiscard]] std::string start_runtime(const RuntimeConfig& config);

/// "3.11.2 (main, ...) [GCC ...]"; "" before the start. Any thread.
[[nodiscard]] std::string runtime_version();

/// While stopped, every wait of Python code inside Penstock ends with erlang.ApplicationStopped,
/// and no new one begins. Never blocks; any thread.
void set_stopped(bool stopped) noexcept;

/// Facts about the Python that this was built for.
struct RuntimeFeatures {
  std::string version;     ///< "3.12.1"
  bool is_free_threaded;   ///< There is no GIL.
  std::string no_own_gil;  ///< Why Mode::own_gil is not possible; "": it is.
};
[[nodiscard]] RuntimeFeatures runtime_features();

/// Interpreters of contexts with Mode::own_gil that exist. One that could not be ended, because
/// code in it goes on, counts. Any thread.
[[nodiscard]] std::int64_t own_interpreters() noexcept;

/// What of Python's output goes to Erlang.
struct OutputSettings {
  bool logs = false;  ///< Records of the module logging.
  bool text = false;  ///< What is written to sys.stdout and sys.stderr.
};

/// From now on output goes to `channel`, as messages that nif/src/py_output.erl describes. The
/// settings count if Python has not started yet. Closes the channel that was there before, and
/// returns it, or nullptr: what is queued in it may be taken. Any thread.
[[nodiscard]] Ref<Channel> open_output(Ref<Channel> channel, OutputSettings settings);
/// From now on output goes to where it would go without us. Closes and returns as open_output.
[[nodiscard]] Ref<Channel> close_output();
/// The channel that output goes to now, or nullptr. Any thread.
[[nodiscard]] Ref<Channel> output_channel();
/// What was last said. Any thread.
[[nodiscard]] OutputSettings output_settings();

/// A thread that runs requests (call.hpp), one after the other, in arrival order.
class Context final : public penstock::Context {
 public:
  enum class Mode : std::uint8_t {
    worker,   ///< The thread runs in the main interpreter, as others do.
    own_gil,  ///< In an interpreter of its own, which starts and ends with it.
  };

  /// Starts a thread of its own; nullptr when memory or threads ran out, or, with Mode::own_gil,
  /// and then `*failure` is not empty, for the reason in there. `process` is the word of the pid by
  /// which Erlang knows the context. `on_exit` is called on the thread as the last thing it does,
  /// without the GIL. Mode::own_gil blocks until the interpreter runs (some 30 ms).
  [[nodiscard]] static Ref<Context> start(std::uint64_t process, std::function<void()> on_exit,
                                          Mode mode = Mode::worker, std::string* failure = nullptr);

  /// The same on the calling thread, which has the GIL of the main interpreter, and which is
  /// Python's own; nullptr when memory ran out.
  [[nodiscard]] static Ref<Context> adopt_this_thread(std::uint64_t process);
  /// Runs what comes, also from `source`, until the context stops. That thread, once.
  void serve_here(RequestSource& source);

  /// Where requests go.
  [[nodiscard]] Channel& requests() noexcept { return *requests_; }

  [[nodiscard]] Status submit(Message& request) noexcept override {
    return requests_->try_send(request);
  }
  [[nodiscard]] Status submit_nested(Message& request) noexcept override;
  void interrupt(const Ref<Call>& only = {}) noexcept override;
  void finish() noexcept override { requests_->close(); }
  void stop() noexcept override;

 private:
  Context() = default;
  ~Context() override;
  struct Thread;
  [[nodiscard]] static Ref<Context> create(RuntimeThread& runtime, std::uint64_t process,
                                           std::function<void()> on_exit);
  std::uint64_t process_ = 0;
  Ref<Channel> requests_;
  Ref<Channel> inbox_;
  Thread* thread_ = nullptr;
};

}  // namespace penstock::python
