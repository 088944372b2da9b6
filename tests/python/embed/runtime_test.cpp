// SPDX-License-Identifier: Apache-2.0
#include "penstock/python/runtime.hpp"

#include "runtime_fixture.hpp"

namespace penstock::test {
namespace {

TEST_F(RuntimeTest, TheInterpreterIsTheOneOfTheExecutable) {
  EXPECT_EQ(exec("import sys, os, erlang._native, erlang.channel"), "ok");
  EXPECT_EQ(eval("sys.executable"), std::string("{ok,<<\"") + PENSTOCK_PYTHON + "\">>}");
  EXPECT_EQ(eval("erlang._native.__spec__.origin is None and erlang._native is "
                 "sys.modules['erlang._native']"),
            "{ok,true}");
  EXPECT_EQ(eval("sys.path[0]"), std::string("{ok,<<\"") + PENSTOCK_PACKAGE + "\">>}");
  EXPECT_EQ(eval("hasattr(erlang._native, '_encode')"), "{ok,false}");
  EXPECT_FALSE(python::runtime_version().empty());
}

TEST_F(RuntimeTest, AFunctionOfAModuleIsCalledWithItsArguments) {
  auto call = new_call();
  send_call(call, "math", "factorial", 5);
  EXPECT_EQ(call->wait(), "{ok,120}");
  call = new_call();
  send_call(call, "os.path", "basename", 5);
  EXPECT_EQ(call->wait().substr(0, 18), "{error,{TypeError,");
  call = new_call();
  send_call(call, "no_such_module", "f", 5);
  EXPECT_EQ(call->wait(), "{error,{ModuleNotFoundError,\"No module named 'no_such_module'\"}}");
  call = new_call();
  send_call(call, "math", "no_such_function", 5);
  EXPECT_EQ(call->wait(),
            "{error,{AttributeError,\"module 'math' has no attribute 'no_such_function'\"}}");
}

TEST_F(RuntimeTest, MainIsTheNamespaceOfTheCaller) {
  EXPECT_EQ(exec("def double(x): return 2 * x"), "ok");
  auto call = new_call();
  send_call(call, "__main__", "double", 21);
  EXPECT_EQ(call->wait(), "{ok,42}");
  call = new_call(2);
  send_call(call, "__main__", "double", 21);
  EXPECT_EQ(call->wait(),
            "{error,{AttributeError,\"module '__main__' has no attribute 'double'\"}}");
  EXPECT_EQ(eval("double(1)", 2), "{error,{NameError,\"name 'double' is not defined\"}}");
  EXPECT_EQ(eval("__name__", 2), "{ok,<<\"__main__\">>}");
}

TEST_F(RuntimeTest, ANamespaceGoesWithItsProcess) {
  EXPECT_EQ(exec("x = 1", 7), "ok");
  EXPECT_EQ(eval("x", 7), "{ok,1}");
  Message forget;
  wire::Writer writer(forget);
  ASSERT_TRUE(writer.tuple(2) && writer.integer(static_cast<int>(Operation::forget)) &&
              writer.pid_word(7));
  ASSERT_EQ(context_->requests().try_send(forget), Status::ok);
  EXPECT_EQ(eval("x", 7), "{error,{NameError,\"name 'x' is not defined\"}}");
}

TEST_F(RuntimeTest, TheNamespaceOfACallerThatIsGoneIsDroppedAfterTheCall) {
  auto call = Ref<TestCall>::steal(new TestCall(8, false));
  send_exec(call, "x = 1");
  EXPECT_EQ(call->wait(), "ok");
  EXPECT_EQ(call->watches, 1);
  EXPECT_EQ(eval("x", 8), "{error,{NameError,\"name 'x' is not defined\"}}");
}

TEST_F(RuntimeTest, TheCallerIsWatchedOncePerNamespace) {
  auto first = new_call(9);
  send_exec(first, "x = 1");
  EXPECT_EQ(first->wait(), "ok");
  auto second = new_call(9);
  send_exec(second, "x = 2");
  EXPECT_EQ(second->wait(), "ok");
  EXPECT_EQ(first->watches + second->watches, 1);
}

TEST_F(RuntimeTest, LocalsOfAnExpressionAreVisibleInIt) {
  auto call = new_call();
  request(Operation::eval, 2, call, [&](wire::Writer& to) {
    return to.bytes(wire::kBinary, bytes("  a + b")) && to.map(2) &&
           to.bytes(wire::kBinary, bytes("a")) && to.integer(1) &&
           to.bytes(wire::kBinary, bytes("b")) && to.integer(2);
  });
  EXPECT_EQ(call->wait(), "{ok,3}");
}

TEST_F(RuntimeTest, EveryKindOfExceptionIsAnAnswerAndTheContextGoesOn) {
  ASSERT_EQ(exec("class Mute(Exception):\n"
                 "  def __str__(self): raise ValueError('no')\n"
                 "class Odd(Exception):\n"
                 "  def __str__(self): return chr(0xd800) + 'x'\n"
                 "def throw(e): raise e\n"
                 "def deep(): return deep()\n"
                 "import sys"),
            "ok");
  EXPECT_EQ(eval("1/0"), "{error,{ZeroDivisionError,\"division by zero\"}}");
  EXPECT_EQ(eval("throw(Mute())"), "{error,{Mute,[]}}");
  EXPECT_EQ(eval("throw(Odd())"), "{error,{Odd,[65533,120]}}");
  EXPECT_EQ(eval("throw(KeyboardInterrupt())"), "{error,interrupted}");
  EXPECT_EQ(eval("sys.exit(3)"), "{error,{SystemExit,\"3\"}}");
  EXPECT_EQ(eval("throw(GeneratorExit())"), "{error,{GeneratorExit,[]}}");
  EXPECT_EQ(eval("throw(StopIteration())"), "{error,{StopIteration,[]}}");
  EXPECT_EQ(eval("throw(MemoryError())"), "{error,{MemoryError,[]}}");
  EXPECT_EQ(eval("deep()").substr(0, 24), "{error,{RecursionError,\"");
  EXPECT_EQ(eval("1 +").substr(0, 21), "{error,{SyntaxError,\"");
  EXPECT_EQ(eval(std::string_view("1\0+1", 4)).substr(0, 7), "{error,");
  EXPECT_EQ(eval("throw(Exception('x' * 100000))").size(),
            std::string("{error,{Exception,\"\"}}").size() + 8192);
  EXPECT_EQ(eval("1 + 1"), "{ok,2}");
}

TEST_F(RuntimeTest, AResultThatIsNoTermNamesItsTypeAndPath) {
  EXPECT_EQ(eval("[1, {'k': {1}}]"),
            "{error,{TypeError,\"cannot convert 'set' object to an Erlang term (at [1]['k'])\"}}");
}

TEST_F(RuntimeTest, AClassNameBeyondTheAtomLimitIsABinary) {
  ASSERT_EQ(exec("class NeverSeenBefore(Exception): pass"), "ok");
  ASSERT_EQ(exec("import erlang\nerlang.atom('interrupted')"), "ok");
  the_host().set_max_atoms(the_host().atoms());
  EXPECT_EQ(exec("raise NeverSeenBefore('x')"), "{error,{<<\"NeverSeenBefore\">>,\"x\"}}");
  EXPECT_EQ(eval("erlang.atom('never_seen_before')").substr(0, 7), "{error,");
  the_host().set_max_atoms(10'000);
  EXPECT_EQ(eval("erlang.atom('never_seen_before')"), "{ok,never_seen_before}");
}

TEST_F(RuntimeTest, MessagesGoToProcessesAndTheTagOfAReplyIsAnAtom) {
  ASSERT_EQ(exec(kPrelude), "ok");
  EXPECT_EQ(eval("erlang.reply(server, ('result', 'text', b'bytes', 1))"), "{ok,true}");
  EXPECT_EQ(next_message(kServer), "{result,<<\"text\">>,<<\"bytes\">>,1}");
  EXPECT_EQ(eval("erlang.send(server, ('result', 1))"), "{ok,none}");
  EXPECT_EQ(next_message(kServer), "{<<\"result\">>,1}");
  EXPECT_EQ(eval("erlang.send(server, erlang.atom('x'))"), "{ok,none}");
  EXPECT_EQ(next_message(kServer), "x");
  EXPECT_EQ(eval("erlang.whereis('nobody')"), "{ok,none}");
  EXPECT_EQ(eval("erlang.whereis(b'server') == erlang.whereis(erlang.atom('server')) == server"),
            "{ok,true}");
  auto call = new_call();
  request(Operation::eval, 2, call, [&](wire::Writer& to) {
    return to.bytes(wire::kBinary, bytes("erlang.send(pid, 1)")) && to.map(1) &&
           to.bytes(wire::kBinary, bytes("pid")) && to.pid_word(MemoryHost::kDeadPid);
  });
  EXPECT_EQ(call->wait().substr(0, 21), "{error,{ProcessError,");
}

TEST_F(RuntimeTest, ACancelledRequestIsNotRun) {
  ASSERT_EQ(exec(kPrelude), "ok");
  auto blocker = new_call();
  send_exec(blocker, "here()\nwhile erlang.whereis('server'): pass");
  ASSERT_EQ(next_message(kServer), "{here}");
  auto cancelled = new_call();
  send_exec(cancelled, "ran = True");
  EXPECT_TRUE(cancelled->cancel());
  context_->interrupt();
  EXPECT_EQ(blocker->wait(), "{error,interrupted}");
  EXPECT_EQ(eval("'ran' in globals()"), "{ok,false}");
}

TEST_F(RuntimeTest, AnInterruptStopsARunningLoop) {
  ASSERT_EQ(exec(kPrelude), "ok");
  auto call = new_call();
  send_exec(call, "here()\nwhile True: pass");
  ASSERT_EQ(next_message(kServer), "{here}");
  context_->interrupt();
  EXPECT_EQ(call->wait(), "{error,interrupted}");
  EXPECT_EQ(eval("1 + 1"), "{ok,2}");
}

TEST_F(RuntimeTest, AnInterruptEndsAWaitOnAChannel) {
  ASSERT_EQ(exec(kPrelude), "ok");
  const Ref<Channel> channel = Channel::create(0);
  channel->add_sender();
  for (const char* const wait :
       {"ch.receive()", "next(iter(ch))", "ch.receive(1000)", "run(ch)", "runs(ch)"}) {
    auto call = new_call();
    Message message;
    request(Operation::exec, 1, new_call(), [&](wire::Writer& to) {
      return to.bytes(wire::kBinary, bytes("import asyncio\n"
                                           "async def run1(ch): return await ch.async_receive()\n"
                                           "async def runs1(ch):\n"
                                           "  async for m in ch: pass\n"
                                           "def run(ch): asyncio.run(run1(ch))\n"
                                           "def runs(ch): asyncio.run(runs1(ch))\n"
                                           "def enter(ref, code):\n"
                                           "  ch = erlang.Channel(ref)\n"
                                           "  here()\n"
                                           "  eval(code, globals(), {'ch': ch})\n"));
    });
    request(Operation::call, 4, call, [&](wire::Writer& to) {
      return to.bytes(wire::kBinary, bytes("__main__")) &&
             to.bytes(wire::kBinary, bytes("enter")) && to.list(2) &&
             to.handle(wire::HandleKind::channel, Ref<Object>::borrow(channel.get())) &&
             to.bytes(wire::kBinary, bytes(wait)) && to.end_list() && to.map(0);
    });
    ASSERT_EQ(next_message(kServer), "{here}");
    const auto deadline = std::chrono::steady_clock::now() + kHang;
    while (channel->data_waiters().waiting() == 0) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::yield();
    }
    context_->interrupt();
    EXPECT_EQ(call->wait(), "{error,interrupted}") << wait;
    EXPECT_EQ(eval("1 + 1"), "{ok,2}");
    EXPECT_EQ(channel->data_waiters().waiting(), 0u) << wait;
  }
}

TEST_F(RuntimeTest, AnInterruptOfOneRequestDoesNotReachTheNext) {
  ASSERT_EQ(exec(kPrelude), "ok");
  for (int round = 0; round < 2000; ++round) {
    auto call = new_call();
    send_eval(call, "sum(range(20))");
    context_->interrupt(Ref<Call>::borrow(call.get()));
    const std::string answer = call->wait();
    EXPECT_TRUE(answer == "{ok,190}" || answer == "{error,interrupted}") << answer;
    ASSERT_EQ(eval("sum(range(10))"), "{ok,45}");
  }
}

TEST_F(RuntimeTest, AnInterruptThatComesTooLateForOneRequestIsNotRaisedInTheNext) {
  // Set on the thread by the request itself, from C, so that no instruction of it comes after.
  ASSERT_EQ(exec("import ctypes, functools, threading\n"
                 "late = functools.partial(ctypes.pythonapi.PyThreadState_SetAsyncExc,\n"
                 "  ctypes.c_ulong(threading.get_ident()), ctypes.py_object(KeyboardInterrupt))"),
            "ok");
  auto call = new_call();
  send_call(call, "__main__", "late", 0);
  EXPECT_EQ(call->wait(), "{ok,1}");
  EXPECT_EQ(eval("[i for i in range(3)]"), "{ok,[0,1,2]}");
}

TEST_F(RuntimeTest, AnInterruptIsRaisedOnce) {
  ASSERT_EQ(exec(kPrelude), "ok");
  ASSERT_EQ(exec("def once(ref):\n"
                 "  try:\n"
                 "    here()\n"
                 "    erlang.Channel(ref).receive()\n"
                 "  except KeyboardInterrupt:\n"
                 "    for _ in range(2000): pass\n"
                 "    time.sleep(0)\n"
                 "    for _ in range(2000): pass\n"
                 "    return 'once'"),
            "ok");
  const Ref<Channel> channel = Channel::create(0);
  channel->add_sender();
  for (int round = 0; round < 300; ++round) {
    auto call = new_call();
    request(Operation::call, 4, call, [&](wire::Writer& to) {
      return to.bytes(wire::kBinary, bytes("__main__")) && to.bytes(wire::kBinary, bytes("once")) &&
             to.list(1) &&
             to.handle(wire::HandleKind::channel, Ref<Object>::borrow(channel.get())) &&
             to.end_list() && to.map(0);
    });
    ASSERT_EQ(next_message(kServer), "{here}");
    const auto deadline = std::chrono::steady_clock::now() + kHang;
    while (round % 2 == 0 && channel->data_waiters().waiting() == 0) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::yield();
    }
    context_->interrupt();
    ASSERT_EQ(call->wait(), "{ok,<<\"once\">>}");
  }
}

/// A large binary of some VM.
class TestBytes final : public wire::PinnedBytes {
 public:
  TestBytes(std::string text, std::atomic<int>& alive)
      : PinnedBytes({}), text_(std::move(text)), alive_(alive) {
    bytes_ = test::bytes(text_);
    ++alive_;
  }
  ~TestBytes() override { --alive_; }

 private:
  const std::string text_;
  std::atomic<int>& alive_;
};

TEST_F(RuntimeTest, ALargeBinaryByReferenceReadsAsItsKindAndIsLetGo) {
  ASSERT_EQ(exec("def kinds(*xs): return [type(x).__name__ + str(len(x)) for x in xs]"), "ok");
  std::atomic<int> alive{0};
  const auto pin = [&](wire::Writer& to, wire::PinnedAs as, const std::string& text) {
    return to.pinned(as, Ref<wire::PinnedBytes>::steal(new TestBytes(text, alive)));
  };
  auto call = new_call();
  request(Operation::call, 4, call, [&](wire::Writer& to) {
    return to.bytes(wire::kBinary, bytes("__main__")) && to.bytes(wire::kBinary, bytes("kinds")) &&
           to.list(4) && pin(to, wire::PinnedAs::binary, std::string(20000, 'x')) &&
           pin(to, wire::PinnedAs::binary, std::string(20000, '\xff')) &&
           pin(to, wire::PinnedAs::bytes_tuple, std::string(20000, 'x')) &&
           pin(to, wire::PinnedAs::bytes, std::string(20000, 'x')) && to.end_list() && to.map(0);
  });
  EXPECT_EQ(call->wait(),
            "{ok,[<<\"str20000\">>,<<\"bytes20000\">>,<<\"bytes20000\">>,<<\"bytes20000\">>]}");
  EXPECT_EQ(eval("1"), "{ok,1}");  // The request itself is gone by now.
  EXPECT_EQ(alive, 0);
}

TEST_F(RuntimeTest, ARequestCancelledWhileItRunsIsInterruptedAndDoesNotAnswer) {
  ASSERT_EQ(exec(kPrelude), "ok");
  auto call = new_call();
  send_exec(call, "try:\n  here()\n  while True: pass\nfinally: ended = True");
  ASSERT_EQ(next_message(kServer), "{here}");
  EXPECT_TRUE(call->cancel());
  context_->interrupt(Ref<Call>::borrow(call.get()));
  EXPECT_EQ(eval("ended"), "{ok,true}");
}

TEST_F(RuntimeTest, StopEndsAWaitWithAnExceptionOfItsOwn) {
  ASSERT_EQ(exec(kPrelude), "ok");
  const Ref<Channel> channel = Channel::create(0);
  channel->add_sender();
  auto call = new_call();
  request(Operation::eval, 2, call, [&](wire::Writer& to) {
    return to.bytes(wire::kBinary, bytes("[here(), erlang.Channel(ref).receive()]")) && to.map(1) &&
           to.bytes(wire::kBinary, bytes("ref")) &&
           to.handle(wire::HandleKind::channel, Ref<Object>::borrow(channel.get()));
  });
  ASSERT_EQ(next_message(kServer), "{here}");
  context_->stop();
  EXPECT_EQ(call->wait(), "{error,{ApplicationStopped,[]}}");
  EXPECT_EQ(channel->data_waiters().waiting(), 0u);
}

TEST_F(RuntimeTest, StopEndsARunningLoopAndDropsWhatIsQueued) {
  ASSERT_EQ(exec(kPrelude), "ok");
  auto running = new_call();
  send_exec(running, "here()\nwhile True: pass");
  ASSERT_EQ(next_message(kServer), "{here}");
  auto queued = new_call();
  send_exec(queued, "here()");
  context_->stop();
  EXPECT_EQ(running->wait().substr(0, 26), "{error,{ApplicationStopped");
  Message late;
  ASSERT_TRUE(wire::Writer(late).tuple(0));
  EXPECT_EQ(context_->requests().try_send(late), Status::closed);
  EXPECT_EQ(the_host().take(kServer), "");
}

TEST_F(RuntimeTest, TheApplicationsStopReachesEveryThreadAndStartingAgainWorks) {
  ASSERT_EQ(exec(kPrelude), "ok");
  const Ref<Channel> channel = Channel::create(0);
  channel->add_sender();
  auto call = new_call();
  request(Operation::call, 4, call, [&](wire::Writer& to) {
    return to.bytes(wire::kBinary, bytes("builtins")) && to.bytes(wire::kBinary, bytes("exec")) &&
           to.list(2) &&
           to.bytes(wire::kBinary,
                    bytes("import erlang, threading\n"
                          "results = []\n"
                          "def wait():\n"
                          "  try: erlang.Channel(ref).receive()\n"
                          "  except BaseException as e: results.append(type(e).__name__)\n"
                          "threads = [threading.Thread(target=wait) for _ in range(3)]\n"
                          "for t in threads: t.start()\n"
                          "for t in threads: t.join()\n"
                          "erlang.reply(erlang.whereis('server'), ('results', results))\n")) &&
           to.map(1) && to.bytes(wire::kBinary, bytes("ref")) &&
           to.handle(wire::HandleKind::channel, Ref<Object>::borrow(channel.get())) &&
           to.end_list() && to.map(0);
  });
  const auto deadline = std::chrono::steady_clock::now() + kHang;
  while (channel->data_waiters().waiting() < 3) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::yield();
  }
  python::set_stopped(true);
  EXPECT_EQ(next_message(kServer),
            "{results,[<<\"ApplicationStopped\">>,<<\"ApplicationStopped\">>,"
            "<<\"ApplicationStopped\">>]}");
  EXPECT_EQ(call->wait(), "{ok,none}");
  python::set_stopped(false);
  EXPECT_EQ(exec("import erlang"), "ok");
}

TEST_F(RuntimeTest, ContextsHoldNothingBackWhenTheyGo) {
  for (int round = 0; round < 50; ++round) {
    std::atomic<bool> exited{false};
    {
      const Ref<Context> context = Context::start(kContextPid, [&] { exited = true; });
      ASSERT_TRUE(context);
    }
    const auto deadline = std::chrono::steady_clock::now() + kHang;
    while (!exited) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::yield();
    }
  }
  EXPECT_EQ(exec("import threading"), "ok");
}

}  // namespace
}  // namespace penstock::test
