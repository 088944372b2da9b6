// SPDX-License-Identifier: Apache-2.0
#include "penstock/bytes.hpp"
#include "runtime_fixture.hpp"

namespace penstock::test {
namespace {

/// Bytes of Python that are given back by threads which Python does not know, as Erlang's
/// schedulers are.
class LentBytesTest : public RuntimeTest {
 protected:
  void SetUp() override {
    RuntimeTest::SetUp();
    channel_ = Channel::create(0, Channel::Content::bytes);
    ASSERT_TRUE(channel_);
    ASSERT_EQ(exec("import erlang, sys\n"
                   "data = bytes(100_000)\n"
                   "def send(ref):\n"
                   "  ch = erlang.ByteChannel(ref)\n"
                   "  return ch.send_many([data] * 3) == 3 and ch.info()['pinned'] == 300_000\n"),
              "ok");
    before_ = references();
  }
  std::string references() { return eval("sys.getrefcount(data)"); }
  std::string references_after(const std::string& wanted) {
    const auto deadline = std::chrono::steady_clock::now() + kHang;
    std::string found;
    do {
      found = references();
    } while (found != wanted && std::chrono::steady_clock::now() < deadline);
    return found;
  }
  std::string call_send() {
    auto call = new_call();
    request(Operation::call, 4, call, [&](wire::Writer& to) {
      std::uint64_t word = 0;
      return the_host().atom("send", word) == Status::ok &&
             to.bytes(wire::kBinary, bytes("__main__")) && to.atom_word(word) && to.list(1) &&
             to.handle(wire::HandleKind::channel, Ref<Object>::borrow(channel_.get())) &&
             to.end_list() && to.map(0);
    });
    return call->wait();
  }

  Ref<Channel> channel_;
  std::string before_;
};

TEST_F(LentBytesTest, BytesThatAreDroppedWithoutTheGilDieWithoutAFurtherCall) {
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(call_send(), "{ok,true}");
    ASSERT_NE(references(), before_);
    std::thread([&] {
      for (int i = 0; i < 3; ++i) {
        Message message;
        ASSERT_EQ(channel_->try_receive(message), Status::ok);
        EXPECT_EQ(penstock::bytes::view(message).bytes.size(), 100'000U);
      }
    }).join();
    EXPECT_EQ(references_after(before_), before_);
  }
}

TEST_F(LentBytesTest, BytesThatAreStillQueuedDieWithTheChannel) {
  ASSERT_EQ(call_send(), "{ok,true}");
  channel_ = {};
  EXPECT_EQ(references_after(before_), before_);
}

TEST_F(LentBytesTest, BytesAreDroppedWhilePythonIsBusy) {
  ASSERT_EQ(exec("before = sys.getrefcount(data)"), "ok");
  ASSERT_EQ(call_send(), "{ok,true}");
  auto busy = new_call();
  send_exec(busy, "while sys.getrefcount(data) > before: pass");
  channel_ = {};
  EXPECT_EQ(busy->wait(), "ok");
}

TEST_F(LentBytesTest, LargeBytesInAResultTravelByReference) {
  EXPECT_EQ(eval("(data, data[:8191] == bytes(8191))"), "{ok,{100000 pinned bytes,true}}");
  EXPECT_EQ(references_after(before_), before_);
}

}  // namespace
}  // namespace penstock::test
