// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include "host.hpp"
#include "penstock/python/runtime.hpp"
#include "penstock/wire.hpp"
#include "terms.hpp"

namespace penstock::test {
using python::Context;
using std::chrono::seconds;

/// The word by which Erlang would know a context.
inline constexpr std::uint64_t kContextPid = 0x7703;

inline constexpr seconds kHang{60};  // No test waits as long, unless something hangs.

/// A request whose answer is kept as text.
class TestCall final : public Call {
 public:
  explicit TestCall(std::uint64_t caller, bool caller_lives = true)
      : Call(caller), caller_lives_(caller_lives) {}
  ~TestCall() override = default;

  bool watch_caller() noexcept override {
    ++watches;
    return caller_lives_;
  }
  void answer(Outcome outcome, const Message& term) noexcept override {
    const std::lock_guard lock(mutex_);
    text_ = outcome == Outcome::ok        ? "ok"
            : outcome == Outcome::ok_term ? "{ok," + text_of(term.bytes()) + "}"
                                          : "{error," + text_of(term.bytes()) + "}";
    answered_.notify_all();
  }
  std::string wait() {
    std::unique_lock lock(mutex_);
    if (!answered_.wait_for(lock, kHang, [this] { return !text_.empty(); })) return "no answer";
    return text_;
  }
  std::atomic<int> watches{0};

 private:
  const bool caller_lives_;
  std::mutex mutex_;
  std::condition_variable answered_;
  std::string text_;
};

inline std::span<const std::uint8_t> bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

class RuntimeTest : public testing::Test {
 protected:
  void SetUp() override {
    context_ = Context::start(kContextPid, [this] { exited_ = true; });
    ASSERT_TRUE(context_);
  }
  void TearDown() override {
    context_->stop();
    const auto deadline = std::chrono::steady_clock::now() + kHang;
    while (!exited_ && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    EXPECT_TRUE(exited_) << "the context's thread did not end";
  }

  static Ref<TestCall> new_call(std::uint64_t caller = 1) {
    return Ref<TestCall>::steal(new TestCall(caller));
  }

  template <class Write>
  void request(Operation operation, std::uint32_t arity, const Ref<TestCall>& call, Write write) {
    Message message;
    wire::Writer writer(message);
    ASSERT_TRUE(writer.tuple(3 + arity));
    ASSERT_TRUE(writer.integer(static_cast<int>(operation)));
    ASSERT_TRUE(writer.handle(wire::HandleKind::call, Ref<Object>::borrow(call.get())));
    ASSERT_TRUE(writer.tag(wire::kNil));  // Nobody waits for whom this is from.
    ASSERT_TRUE(write(writer));
    ASSERT_EQ(context_->requests().try_send(message), Status::ok);
  }
  void send_exec(const Ref<TestCall>& call, std::string_view code) {
    request(Operation::exec, 1, call,
            [&](wire::Writer& to) { return to.bytes(wire::kBinary, bytes(code)); });
  }
  void send_eval(const Ref<TestCall>& call, std::string_view code) {
    request(Operation::eval, 2, call,
            [&](wire::Writer& to) { return to.bytes(wire::kBinary, bytes(code)) && to.map(0); });
  }
  void send_call(const Ref<TestCall>& call, std::string_view module, std::string_view function,
                 std::int64_t argument) {
    request(Operation::call, 4, call, [&](wire::Writer& to) {
      std::uint64_t word = 0;
      return the_host().atom(function, word) == Status::ok &&
             to.bytes(wire::kBinary, bytes(module)) && to.atom_word(word) && to.list(1) &&
             to.integer(argument) && to.end_list() && to.map(0);
    });
  }
  std::string exec(std::string_view code, std::uint64_t caller = 1) {
    auto call = new_call(caller);
    send_exec(call, code);
    return call->wait();
  }
  std::string eval(std::string_view code, std::uint64_t caller = 1) {
    auto call = new_call(caller);
    send_eval(call, code);
    return call->wait();
  }

  /// Waits until the running code has called erlang.send(pid, 'here') for this pid.
  static std::string next_message(std::uint64_t pid) {
    const auto deadline = std::chrono::steady_clock::now() + kHang;
    while (std::chrono::steady_clock::now() < deadline) {
      if (std::string text = the_host().take(pid); !text.empty()) return text;
      std::this_thread::yield();
    }
    return "no message";
  }

  /// Code that has a channel `ch` nobody sends to, and can say that it has come so far.
  static constexpr const char* kPrelude =
      "import erlang, time\n"
      "server = erlang.whereis('server')\n"
      "def here(): erlang.reply(server, ('here',))\n";

  Ref<Context> context_;
  std::atomic<bool> exited_{false};
};

constexpr auto kServer = MemoryHost::kRegisteredPid;

}  // namespace penstock::test
