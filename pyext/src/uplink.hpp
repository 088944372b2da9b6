// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "channel_imports.hpp"
#include "penstock/channel.hpp"
#include "penstock/frame.hpp"
#include "penstock/host.hpp"
#include "penstock/link.hpp"
#include "penstock/portable.hpp"
#include "penstock/python/runtime.hpp"
#include "penstock/spin.hpp"
#include "penstock/waiter.hpp"
#include "request_source.hpp"

namespace penstock::python {

class OutputUplink;
class RemoteCall;

/// Atoms of a worker process: words of its own, which leave it as names.
///
/// Threads: any.
class AtomTable {
 public:
  /// ok, too_large or limit.
  [[nodiscard]] Status word_of(std::string_view utf8, std::uint64_t* word);
  /// The length; 0 and *ok false: that is no word of ours.
  [[nodiscard]] std::size_t name_of(std::uint64_t word, std::span<char> name, bool* ok);

 private:
  static constexpr std::size_t kMost = 1'000'000;
  std::mutex mutex_;  // Guards what follows.
  std::unordered_map<std::string, std::uint64_t> words_;
  std::vector<const std::string*> names_;
};

/// Has a thread that sleeps on a Link's word wait in a line as well.
///
/// Threads: leave() the one that waits.
class LookWaiter final : public Waiter {
 public:
  explicit LookWaiter(Link& link) noexcept : link_(link) {}
  /// Leaves the line, whatever happened.
  void leave(WaitList& list) noexcept;

 private:
  bool fire() noexcept override;
  Link& link_;
  Atomic<std::uint32_t> has_fired_{0};
};

/// A worker process's end of its Link: what the VM is to Python code there, and where requests come
/// from. Its counterpart is nif::ProcessContext.
///
///   main thread ◄──── requests, while it has nothing to do ───── Link ◄── VM
///   main thread ◄── queue ◄── thread that listens, meanwhile ◄── Link ◄── VM
///   any thread ──────────────── send, answers ─────────────────► Link ──► VM
///
/// Lives as long as the process, which ends when the VM does.
///
/// Threads: any. whereis() blocks for a round trip, everything else never does.
class Uplink final : public Host, public RequestSource, private wire::Porter {
 public:
  /// `passing`, `domain`: see ChannelImports.
  Uplink(Ref<Link> link, Ref<Context> context, Descriptor passing, Ref<Domain> domain);
  ~Uplink();

  [[nodiscard]] Status send(std::span<const std::uint8_t> pid, const Message& message,
                            const Channel* inbox = nullptr) noexcept override;
  [[nodiscard]] Status whereis(std::string_view name, Message& pid) noexcept override;
  [[nodiscard]] Status atom(std::string_view utf8, std::uint64_t& word) noexcept override;
  [[nodiscard]] std::size_t atom_name(std::uint64_t word, std::span<char> name,
                                      bool* ok) noexcept override;

  [[nodiscard]] bool look_out(std::int64_t until_ns, const ThreadWaiter* me,
                              const Channel& inbox) noexcept override;

  [[nodiscard]] Status try_take(Message& request) noexcept override;
  [[nodiscard]] Status take(Message& request) noexcept override;

  /// Receives until the VM is gone, and then ends the process.
  [[noreturn]] void run() noexcept;
  /// Where output goes from now on. Before run(). False when memory ran out.
  [[nodiscard]] bool open_output(OutputSettings settings);
  /// A frame with nothing but its head.
  void tell(FrameKind kind, std::uint64_t id = 0, std::uint32_t detail = 0) noexcept;

 private:
  friend class RemoteCall;
  friend class OutputUplink;
  /// Twice a wake-up.
  static constexpr std::uint32_t kSpin_ns = 50'000;
  /// What a thread with other things to do takes itself.
  static constexpr std::size_t kMostTaken = std::size_t{256} * 1024;
  struct Question;

  // wire::Porter
  [[nodiscard]] Status token_of(wire::HandleKind kind, Object& object,
                                std::uint64_t* token) noexcept override;
  [[nodiscard]] Status object_of(wire::HandleKind kind, std::uint64_t token,
                                 Ref<Object>* object) noexcept override;
  [[nodiscard]] bool is_pid(std::uint64_t /*word*/) noexcept override { return true; }

  void wait_for_memory(std::int64_t* since_ns) noexcept;
  void refuse_request(std::span<const std::uint8_t> request) noexcept;
  [[nodiscard]] static bool is_forked() noexcept;
  [[nodiscard]] Status next_request(Link::Look& look, Message& request) noexcept;
  [[nodiscard]] Status sleep(Link::Look& look, Message& request) noexcept;
  void deal_with(const FrameHead& head, std::span<const std::uint8_t> rest) noexcept;
  /// False: there was no memory for it, and its caller has been told.
  [[nodiscard]] bool read_request(const FrameHead& head, std::span<const std::uint8_t> rest,
                                  Message& request) noexcept;
  void take_request(const FrameHead& head, std::span<const std::uint8_t> rest) noexcept;
  void take_inbox(std::uint64_t id, std::span<const std::uint8_t> rest) noexcept;
  void lose_inbox(std::uint64_t id) noexcept;
  void interrupt(std::uint64_t id) noexcept;
  void answer_question(const FrameHead& head, std::span<const std::uint8_t> pid) noexcept;
  /// False: nothing was said, for want of memory.
  [[nodiscard]] bool answered(std::uint64_t id, Call::Outcome outcome,
                              const Message& term) noexcept;
  void forget(const RemoteCall& call) noexcept;
  [[nodiscard]] static std::size_t place_of(std::uint64_t id) noexcept { return id & UINT32_MAX; }

  const Ref<Link> link_;
  const Ref<Context> context_;
  ChannelImports channels_;
  Ref<OutputUplink> output_;  // Set once.
  AtomTable atoms_;

  // The context's thread's.
  LookWaiter waiter_;
  SpinBudget spin_{kSpin_ns};

  // Of what is being received, by whoever does that.
  Message frame_;  // Not the thread's that listens.
  std::uint64_t caller_ = 0;
  bool wants_traceback_ = false;

  std::mutex mutex_;  // Guards what follows.
  std::vector<RemoteCall*>
      calls_;  // By the lower half of the id. Not owned: they forget themselves.
  std::unordered_map<std::uint64_t, Ref<Channel>> inboxes_;
  std::unordered_map<std::uint64_t, Question*> questions_;
  std::uint64_t last_id_ = 0;  // Of inboxes and questions.
};

/// A call that came over an Uplink.
class RemoteCall final : public Call {
 public:
  RemoteCall(Uplink& uplink, std::uint64_t id, std::uint64_t caller, bool wants_traceback) noexcept
      : Call(caller, wants_traceback), uplink_(uplink), id_(id) {}
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] bool watch_caller() noexcept override {
    uplink_.tell(FrameKind::watch, id_);
    return true;  // If it is gone, the VM says so at once.
  }

 private:
  ~RemoteCall() override;
  void answer(Outcome outcome, const Message& term) noexcept override;

  Uplink& uplink_;
  const std::uint64_t id_;
  bool is_answered_ = false;  // Whoever answers has a reference, so the destructor sees it.
};

}  // namespace penstock::python
