// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pthread.h>

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "inbox_waiter.hpp"
#include "module_state.hpp"
#include "penstock/call.hpp"
#include "penstock/channel.hpp"
#include "penstock/spin.hpp"

namespace penstock::python {

class Executor;

/// The contexts whose threads wait for a piece of work, by the word of their processes.
using Path = std::vector<std::uint64_t>;

/// What a thread says to its processes, see py_caller.
enum class CallerTag : std::uint8_t { open, call, async, schedule, release, close, adopt };

/// A function of Erlang, and the arguments of its call.
struct ErlangFunction {
  PyObject* name;  ///< A str.
  std::span<PyObject* const> args;
};

/// The calls to Erlang of one Python thread: what is behind erlang.call and erlang.async_call.
///
///   this thread ── {penstock_call, Id, ..} ──► handler process ──► runs the function
///        ▲                                            │
///        └───────────── inbox (a Channel) ◄── value, failure
///
/// A process of this thread in Erlang (py_caller) starts handlers: one for each level of blocking
/// calls, which stays for the next call of that level, and one for each async_call. While a
/// blocking call waits, the thread runs what the handler asks of its context: that comes through
/// the same inbox. So does the word that a handler died.
///
/// Made at a thread's first call, gone with its Python thread state. Holds no lock.
///
/// Threads: with the GIL, its own; futures may be resolved by any.
class Caller {
 public:
  /// The calling thread's; nullptr: an exception is set.
  [[nodiscard]] static Caller* of_this_thread(ModuleState& state);
  /// For the thread of a context: requests from further down a path come through `inbox`.
  [[nodiscard]] static Caller* of_context(ModuleState& state, Ref<Channel> inbox,
                                          Executor& executor);
  /// The calling thread's goes, if there is one: it would outlive its executor.
  static void forget_this_thread(ModuleState& state);

  /// Calls, and waits without the GIL. nullptr: an exception is set, RuntimeError if it is
  /// Erlang's.
  [[nodiscard]] PyObject* call(const ErlangFunction& function);
  /// Calls; the result, or RuntimeError, comes to the asyncio future that is returned, of the
  /// running loop.
  [[nodiscard]] PyObject* start(const ErlangFunction& function);
  /// Calls; the result is the answer of `call`. False: an exception is set.
  [[nodiscard]] bool schedule(Call& call, const ErlangFunction& function);

  /// Deals with all that is in the inbox.
  void serve();
  /// The loop has been told that there may be something. False: an exception is set.
  [[nodiscard]] bool serve_loop();

  // For a loop that looks by itself.

  [[nodiscard]] bool has_futures() const noexcept { return !futures_.empty(); }
  [[nodiscard]] const Ref<Channel>& inbox() const noexcept { return inbox_; }
  /// Something has come, or nothing more will.
  [[nodiscard]] static bool is_something_in(const Channel& inbox) noexcept;
  /// Nobody in Erlang could put anything in any more. Look at what is there afterwards.
  [[nodiscard]] static bool has_ended(const Channel& inbox) noexcept;
  /// Deals with it.
  void serve_source();
  /// The loop goes to sleep, and is told by `waiter`. True: it need not, something has come.
  [[nodiscard]] bool sleep_with(const Ref<InboxWaiter>& waiter);
  /// No loop is told by `waiter` any more.
  void stop_using(const InboxWaiter& waiter);

  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

 private:
  using Received = std::unique_ptr<Message>;
  /// A blocking call, on the stack of the thread that waits for its answer.
  struct Wait;
  class BackInLine;
  static constexpr const char* kCapsule = "erlang._caller";
  /// Most answers come sooner than another thread could get the GIL and give it back.
  static constexpr std::int64_t kSpinWithGil_ns = 6'000;
  /// And then without it, in a worker process.
  static constexpr std::uint32_t kSpin_ns = 50'000;

  Caller(ModuleState& state, Ref<Channel> inbox, Executor* executor) noexcept
      : state_(state), inbox_(std::move(inbox)), executor_(executor) {}
  ~Caller();
  static Caller* make(ModuleState& state, Ref<Channel> inbox, Executor* executor);
  static void destroy(PyObject* capsule);
  void end_processes() noexcept;
  [[nodiscard]] static pthread_key_t list_of_thread() noexcept;
  void enlist() noexcept;
  void delist() noexcept;

  // Sending
  [[nodiscard]] std::uint64_t next_id() noexcept;
  [[nodiscard]] bool open();
  /// The process is gone: who waits gets another one, which is to watch what still works.
  void lose_process();
  void adopt_handlers();
  [[nodiscard]] Status send_to(std::uint64_t process, const Message& message) noexcept;
  [[nodiscard]] bool send_request(std::uint64_t& process, const Message& request);
  [[nodiscard]] bool write_request(Message& request, CallerTag kind, std::uint64_t id,
                                   const Ref<Object>& call, const ErlangFunction& function);
  void dismiss(std::uint64_t process, CallerTag what);

  // Receiving
  [[nodiscard]] bool await(const Wait& wait);
  void fail(const PyRef& future, PyObject* exception);
  [[nodiscard]] bool receive_one();
  [[nodiscard]] bool comes_soon(Message& message, Status& status) noexcept;
  [[nodiscard]] Status receive(Message& message, ThreadWaiter& waiter,
                               ThreadWaiter::Wake* woken) noexcept;
  [[nodiscard]] Received spare();
  void dispatch(Received message);
  void answered(std::uint64_t id, std::uint64_t handler, bool is_down, Received message);
  void came_back(std::uint64_t id);
  void resolve(PyObject* future, const Message& message);
  [[nodiscard]] PyObject* result_of(const Message& message);
  void lost();
  void raise_lost();
  void lose_futures();
  void fail_futures(PyObject* exception);

  // Futures
  [[nodiscard]] PyRef new_future(PyObject* loop);
  [[nodiscard]] bool watch_in(PyObject* loop);
  [[nodiscard]] bool watch_in_other(PyObject* loop);
  /// Whether the loop that watches the inbox does so without being told.
  [[nodiscard]] bool looks_itself() const noexcept {
    return waiter_.get() == nullptr || waiter_.get() != event_waiter_.get();
  }
  void get_in_line();
  void have_loop_look();
  void leave_line() noexcept;

  ModuleState& state_;
  const Ref<Channel> inbox_;
  Executor* const executor_;   // nullptr: not a context's thread.
  std::uint64_t process_ = 0;  // py_caller's pid, once open.
  std::uint64_t last_id_ = 0;
  std::uint64_t unsent_ = 0;             // Of the future whose call is being sent.
  Wait* innermost_ = nullptr;            // Of those that wait on this thread's stack.
  std::size_t depth_ = 0;                // How many they are.
  std::vector<std::uint64_t> handlers_;  // Of each level; 0: none yet.
  Received spare_;
  SpinBudget spin_{kSpin_ns};
  std::unordered_map<std::uint64_t, PyObject*> futures_;  // By id.
  std::uint32_t futures_since_ = 0;  // Parking::stops() when the first of them began.
  Caller* next_of_thread_ = nullptr;
  PyRef reader_;                   // Once there was a future: an InboxReaderObject.
  Ref<InboxWaiter> event_waiter_;  // Of its mailbox, once that is there.
  Ref<InboxWaiter> waiter_;        // Whose turn it is to be in line: that one, or a loop's.
};

}  // namespace penstock::python
