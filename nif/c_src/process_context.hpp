// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "channel_exports.hpp"
#include "penstock/context.hpp"
#include "penstock/domain.hpp"
#include "penstock/frame.hpp"
#include "penstock/link.hpp"
#include "penstock/portable.hpp"
#include "vm_domain.hpp"
#include "worker_process.hpp"

namespace penstock::nif {

class InboxRelay;
class OutputRelay;

/// A context whose Python runs in another process: the VM's end of its Link. The counterpart is
/// python::Uplink.
///
///   submit ──► Link ──► worker ──► Link ──► thread of ours: answers, sends, looks processes up
///
/// What the worker says is checked word for word; if it breaks the rules it is killed. When it
/// ends, for whatever reason, each call in its hands fails with {worker_down, Reason}.
///
/// Threads: any.
class ProcessContext final : public Context, private wire::Porter {
 public:
  /// What is told at the end: the reason as a term in wire form. {worker_down, Why}, where Why is
  /// {signal, Number}, {exit_status, Number}, corrupt, out_of_memory, or, after kill(), timeout;
  /// `stopped` if that was asked for.
  using OnExit = std::function<void(const Message& reason)>;

  /// Starts the process and waits until it runs requests, as long as Python takes to start.
  /// `owner`: the word of the pid by which Erlang knows the context. Empty: `*failure` says why.
  [[nodiscard]] static Ref<ProcessContext> start(const WorkerCommand& command, std::uint64_t owner,
                                                 OnExit on_exit, std::string* failure);

  [[nodiscard]] Status submit(Message& request) noexcept override;
  [[nodiscard]] Status submit_nested(Message& request) noexcept override;
  [[nodiscard]] bool is_remote() const noexcept override { return true; }
  bool look_out(std::int64_t for_ns) noexcept override;
  void interrupt(const Ref<Call>& only = {}) noexcept override;
  void finish() noexcept override { tell(FrameKind::finish); }
  void stop() noexcept override;
  void kill() noexcept override;

  [[nodiscard]] Link::Fill link_fill() const noexcept { return link_->fill(); }
  [[nodiscard]] pid_t pid() const noexcept { return process_->pid(); }

 private:
  friend class InboxRelay;
  class Outgoing;
  friend class OutputRelay;
  /// A call in the worker's hands. Its number is generation << 32 | place, so that what comes late
  /// for one that is gone means none.
  struct Place {
    Ref<Call> call;
    std::uint32_t generation = 1;
    std::uint32_t next_free = 0;
  };
  static constexpr std::uint32_t kNoPlace = UINT32_MAX;
  /// What a scheduler takes of what the worker says at once: so many frames, of so many bytes.
  static constexpr int kMostTaken = 16;
  static constexpr std::int64_t kShortLook_ns = 2'000;
  static constexpr std::size_t kMostBytes = std::size_t{72} * 1024;
  /// Threads of a worker that call Erlang. Each costs us a queue.
  static constexpr std::size_t kMostInboxes = 10'000;

  /// What a running one consists of. The process goes before its number does.
  struct Parts {
    std::unique_ptr<Membership> membership;
    std::unique_ptr<WorkerProcess> process;
    Ref<Link> link;
    Descriptor passing;
  };
  ProcessContext(Parts parts, std::uint64_t owner, OnExit on_exit) noexcept;
  [[nodiscard]] static Parts start_process(const WorkerCommand& command, std::uint64_t owner);
  ~ProcessContext() override;

  // wire::Porter
  [[nodiscard]] std::size_t atom_name(std::uint64_t word, std::span<char> name,
                                      bool* ok) noexcept override;
  [[nodiscard]] Status token_of(wire::HandleKind kind, Object& object,
                                std::uint64_t* token) noexcept override;
  [[nodiscard]] Status object_of(wire::HandleKind kind, std::uint64_t token,
                                 Ref<Object>* object) noexcept override;
  [[nodiscard]] bool is_pid(std::uint64_t word) noexcept override;

  void tell(FrameKind kind, std::uint64_t id = 0, std::uint32_t detail = 0) noexcept;
  /// Appends a term in portable form and sends the frame: ok, not_shared, closed or out_of_memory,
  /// and then the worker has got nothing.
  [[nodiscard]] Status send_term(Message& frame, std::span<const std::uint8_t> term) noexcept;
  void take_back(std::uint64_t channel, std::uint32_t copies) noexcept;
  [[nodiscard]] Status send_request(FrameKind kind, Message& request) noexcept;
  [[nodiscard]] bool greet(std::string* failure);

  void run() noexcept;
  [[nodiscard]] Status serve() noexcept;
  [[nodiscard]] bool take_some(Link::Look& look) noexcept;
  [[nodiscard]] Status deal_with(const Message& frame) noexcept;
  [[nodiscard]] Status take(const FrameHead& head, std::span<const std::uint8_t> rest) noexcept;
  [[nodiscard]] Status take_answer(const FrameHead& head,
                                   std::span<const std::uint8_t> term) noexcept;
  [[nodiscard]] Status take_send(const FrameHead& head,
                                 std::span<const std::uint8_t> rest) noexcept;
  [[nodiscard]] Status take_output(const FrameHead& head,
                                   std::span<const std::uint8_t> rest) noexcept;
  void refuse(std::uint64_t inbox, const Message& request, Status why) noexcept;
  [[nodiscard]] Status look_up(std::uint64_t question, std::span<const std::uint8_t> name) noexcept;
  void watch(std::uint64_t id) noexcept;
  void end(const Message* reason) noexcept;

  [[nodiscard]] Ref<Call> call_of(std::uint64_t id) noexcept;
  [[nodiscard]] Ref<Call> forget_call(std::uint64_t id) noexcept;
  [[nodiscard]] Status add_inbox(std::uint64_t token, Ref<Object>* object);
  [[nodiscard]] Ref<InboxRelay> inbox_of(std::uint64_t id) noexcept;
  void forget_inbox(const InboxRelay& inbox) noexcept;

  std::unique_ptr<Membership> membership_;  // Until it is dead.
  const std::unique_ptr<WorkerProcess> process_;
  const Ref<Link> link_;
  ChannelExports exports_;
  const std::uint64_t owner_;
  const OnExit on_exit_;
  Atomic<std::int64_t> kill_at_ns_{kNoDeadline};  // A worker that was told to stop has until then.
  Atomic<std::uint32_t> is_killed_{0};

  Atomic<std::uint32_t> in_hands_{0};  // Calls. A hint.

  std::mutex mutex_;  // Guards what follows.
  std::vector<Place> places_;
  std::uint32_t first_free_ = kNoPlace;
  std::unordered_map<std::uint64_t, Ref<InboxRelay>> inboxes_;
  bool has_ended_ = false;

  // Of the frame that is being received, by whoever does that.
  bool is_without_memory_ = false;
  Ref<InboxRelay> new_inbox_;
  Ref<OutputRelay> output_;  // Once there was some, until the end.
  Message frame_;            // Not the thread's.
  Message answer_;
};

}  // namespace penstock::nif
